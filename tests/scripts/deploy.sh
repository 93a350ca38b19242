#!/usr/bin/env bash
# Does what we deploy hold?
#
#   deploy.sh                 the manifest, then the image and the pod
#   deploy.sh manifest        only: kubernetes-validate --strict, 1.29 to 1.37
#   deploy.sh image           only: podman build, the image alone
#   deploy.sh pod             only: gate and agent as two containers
#
# BINARY is a static countersign; without it deploy/build.sh builds one.
# STANDIN=1 says that BINARY is some other static server that listens on
# 127.0.0.1:8700 whatever its arguments: then only the containers are proved,
# not what runs in them.
# Needs root (or rootless podman that works), runc, and setup.sh tools.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${COUNTERSIGN_CLIENTS:-$root/target/clients}
tag=localhost/countersign:dev
agent=localhost/countersign-agent:dev
work=$(mktemp -d)
passed=0

fail() { echo "deploy: $*" >&2; exit 1; }
pass() { passed=$((passed + 1)); echo "ok   $*"; }

cleanup() {
    if [[ -e $work/pod.yaml ]]; then podman play kube --down "$work/pod.yaml" >/dev/null 2>&1 || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

# Small machines and nested containers: no limits to raise, the plain runtime.
cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_CONF=${CONTAINERS_CONF:-$work/containers.conf}

manifest() {
    local minor
    [[ -x $home/tools/bin/kubernetes-validate ]] || fail "no kubernetes-validate; run tests/scripts/setup.sh tools"
    for minor in 29 30 31 32 33 34 35 36 37; do
        "$home/tools/bin/kubernetes-validate" --strict --quiet --kubernetes-version "1.$minor" \
            "$root"/deploy/kubernetes/*.yaml || fail "1.$minor refuses the manifest"
        pass "manifest, Kubernetes 1.$minor"
    done
    "$home/tools/bin/python" "$root/tests/scripts/manifest.py" "$root/deploy/kubernetes/sidecar.yaml" || fail "the manifest is not as it must be"
    pass "manifest, what the schema cannot say"
}

build() {
    command -v podman >/dev/null || fail "no podman; run tests/scripts/setup.sh system"
    "$root/deploy/build.sh" "$tag" >/dev/null
    if ! podman image exists "$tag"; then fail "no image"; fi
}

image() {
    build
    local user
    user=$(podman image inspect --format '{{.Config.User}}' "$tag")
    [[ $user == 65532:65532 ]] || fail "the image runs as \`$user\`"
    pass "image, not root"
    if [[ -z ${STANDIN:-} ]]; then
        podman run --rm --read-only --network none --cap-drop ALL "$tag" --version | grep -q countersign || fail "--version"
        pass "image, runs with a read-only root and no network"
    fi
}

# The agent of the test is a static program that only waits: there is no
# registry here. What an agent would try is tried from its network namespace.
pod() {
    podman image exists "$tag" || build
    mkdir -p "$work/pod/config/policies" "$work/pod/config/tools" "$work/pod/credentials" "$work/pod/state"
    write_config
    if [[ -d $root/policies ]]; then cp -r "$root/policies/." "$work/pod/config/policies/"; fi
    if [[ -d $root/tools ]]; then cp -r "$root/tools/." "$work/pod/config/tools/"; fi
    echo -n "Bearer tool-credential" >"$work/pod/credentials/crm"
    echo -n "agent-token-of-the-deployment-test" >"$work/pod/credentials/agent"
    echo -n "reviewer-of-the-deployment-4f81c6" >"$work/pod/credentials/reviewer"
    chown -R 65532:65532 "$work/pod/state" "$work/pod/credentials"
    chmod 711 "$work"
    agent_image
    sed "s|@DIR@|$work/pod|" "$root/deploy/podman/pod.yaml" >"$work/pod.yaml"
    podman play kube "$work/pod.yaml" >"$work/play.log" 2>&1 || { cat "$work/play.log" >&2; fail "podman play kube"; }
    proofs
}

write_config() {
    cat >"$work/pod/config/config.yaml" <<'CONFIG'
listen: 127.0.0.1:8700
operator: {listen: "0.0.0.0:8701"}
state: /var/lib/countersign
policies: [/etc/countersign/policies]
tools: [/etc/countersign/tools]
agents:
  - {id: demo, token: {file: /run/secrets/countersign/agent}}
reviewers:
  - {id: oncall, token: {file: /run/secrets/countersign/reviewer}}
servers:
  crm: {mcp: "http://127.0.0.1:9000/mcp", credential: {header: Authorization, value: {file: /run/secrets/countersign/crm}}}
CONFIG
}

# AGENT_BINARY may be a static MCP server for the gate to forward to.
agent_image() {
    local context=$work/agent
    mkdir -p "$context"
    if [[ -n ${AGENT_BINARY:-} ]]; then cp "$AGENT_BINARY" "$context/agent"; else sleeper "$context/agent"; fi
    printf 'FROM scratch\nCOPY agent /agent\nENTRYPOINT ["/agent"]\n' >"$context/Containerfile"
    podman build --quiet --format docker --tag "$agent" "$context" >/dev/null || fail "the agent's image"
}

# The smallest static program that stays: it waits for a signal.
sleeper() {
    local source=$work/sleeper.rs
    echo 'fn main() { loop { std::thread::park() } }' >"$source"
    rustc --edition 2024 -O -C target-feature=+crt-static --target "$(rustc -vV | sed -n 's/^host: //p')" -o "$1" "$source"
}

# Runs a command inside the pod's network, as a container of it would.
in_pod() { nsenter --net --target "$pid" "$@"; }

proofs() {
    local gate=countersign-pod-gate user tries
    pid=$(podman inspect --format '{{.State.Pid}}' countersign-pod-agent)
    [[ $pid -gt 0 ]] || { podman logs countersign-pod-agent >&2; fail "the agent does not run"; }
    for ((tries = 0; tries < 100; tries++)); do
        in_pod bash -c '</dev/tcp/127.0.0.1/8700' 2>/dev/null && break
        [[ $(podman inspect --format '{{.State.Running}}' $gate) == true ]] || { podman logs $gate >&2; fail "the gate stopped"; }
        sleep 0.1
    done
    in_pod bash -c '</dev/tcp/127.0.0.1/8700' || { podman logs $gate >&2; fail "the gate does not listen"; }
    pass "pod, the agent reaches the gate on loopback"
    user=$(stat -c %u "/proc/$(podman inspect --format '{{.State.Pid}}' $gate)")
    [[ $user == 65532 ]] || fail "the gate runs as uid $user"
    pass "pod, the gate is not root"
    [[ $(podman inspect --format '{{.HostConfig.ReadonlyRootfs}}' $gate countersign-pod-agent) == $'true\ntrue' ]] || fail "a root can be written"
    pass "pod, read-only roots"
    if podman inspect --format '{{range .Mounts}}{{.Destination}} {{end}}' countersign-pod-agent | grep -Eq 'secret|countersign'; then
        fail "the agent sees a credential"
    fi
    pass "pod, credentials and policies only in the gate"
    [[ $(grep CapEff "/proc/$(podman inspect --format '{{.State.Pid}}' $gate)/status" | cut -f2) == 0000000000000000 ]] || fail "the gate has capabilities"
    pass "pod, no capabilities"
    if [[ -z ${STANDIN:-} ]]; then
        local status
        status=$(in_pod curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8701/healthz)
        [[ $status == 200 ]] || fail "/healthz says $status"
        pass "pod, /healthz"
        status=$(in_pod curl --silent --output /dev/null --write-out '%{http_code}' --json '{}' http://127.0.0.1:8700/mcp/crm)
        [[ $status == 401 ]] || fail "a call without a token says $status"
        pass "pod, K01: no token, no call"
    fi
    podman stop --time 10 $gate >/dev/null
    [[ $(podman inspect --format '{{.State.ExitCode}}' $gate) != 137 || -n ${STANDIN:-} ]] || fail "the gate had to be killed"
    if in_pod bash -c '</dev/tcp/127.0.0.1/8700' 2>/dev/null; then fail "somebody still listens"; fi
    pass "pod, K04: without the gate there is no way out"
}

if [[ $# == 0 ]]; then set -- manifest image pod; fi
for part in "$@"; do
    case $part in
        manifest | image | pod) "$part" ;;
        *) fail "no part \`$part\`; parts are manifest, image, pod" ;;
    esac
done
echo "$passed passed, 0 failed"
