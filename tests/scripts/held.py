#!/usr/bin/env python3
"""Does each client get the true answer to a call that waited for people?

    held.py [--gate BINARY] [--bin DIR] [--no-browser] [--only TEXT]

Starts a server of tools, and gates in front of it that hold each call: one waits
as long as it does by default, one answers before people do, and one has a server
that does not know the tasks extension. Real SDKs
with their own time-outs call in each shape that they can use; somebody signs,
denies or changes each call, on the page in Chromium where a run says so, else
by the API. What comes of it is compared with the same call made without a gate.
Prints a table; exits 1 if anything in it is wrong.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import copy
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import compare
from compare import CLIENTS, NODE, ROOT, TARGET

PROGRAMS = ROOT / "tests" / "clients"
TOKEN = "r3v13w-of-the-held-tests-2b7d90"
REASON = "use invoice 42 instead"
# Clients at once: this runs on two cores.
AT_ONCE = 4
CLIENT_TIMEOUT_S = 240

CONFIG = """
listen: 127.0.0.1:{port}
operator: {{listen: 127.0.0.1:{operator}}}
state: {work}/state
policies: [{work}/policies]
tools: [{work}/tools.yaml]
policy: {{deadline: 5s}}
agents: [{{id: tester, anonymous: true}}]
reviewers: [{{id: ann, token: {{file: {work}/ann.token}}}}]
servers: {{upstream: {{mcp: "{url}"}}}}
{hold}
"""
POLICY = """package countersign.reversibility

hold contains {"code": "test", "message": "each of these needs a signature", "reviewers": []} if {
	input.call.tool in {"echo", "send_file"}
}
"""
# What a gate is told of holds, and its server of what it is.
BRIEF = "hold: {wait: 3s, rounds: 3}"
GATES = {"patient": ("", ()), "brief": (BRIEF, ()), "no tasks": (BRIEF, ("--no-tasks",))}
TASKS = ("io.modelcontextprotocol/tasks",)
# Past one `hold.wait` of the brief gate, and past all its rounds.
LATE_S, OVER_S = 4.5, 11
# Between a ticket and the same call again: people decide meanwhile, and nobody waits.
PAUSE_MS = 5000

PYTHON_1, PYTHON_2 = ((CLIENTS / name / "bin/python", PROGRAMS / "python_client.py") for name in ("mcp1", "mcp2"))
SDK_1, CLIENT_2 = ((NODE, PROGRAMS / name) for name in ("sdk1.mjs", "client2.mjs"))


@dataclasses.dataclass(frozen=True)
class Run:
    """One client that waits in one shape."""

    client: str
    command: tuple
    mode: str
    shape: str
    step: str
    gate: str
    after_s: float = 0
    page: bool = False
    # What the client declares.
    extensions: tuple = ()

    @property
    def is_task(self):
        return self.shape.startswith("task")


def runs():
    old = [("python 1.30.0", PYTHON_1), ("python 2.3.0, old", PYTHON_2), ("sdk 1.32.2", SDK_1), ("client 2.4.0, old", CLIENT_2)]
    new = [("python 2.3.0", PYTHON_2), ("client 2.4.0", CLIENT_2)]
    for client, command in old:
        yield Run(client, command, "legacy", "stream", "call", "patient", page=client.startswith("client"))
        yield Run(client, command, "legacy", "ticket", "collect", "brief", LATE_S, page=client.startswith("python 1"))
    for client, command in new:
        yield Run(client, command, "auto", "rounds", "call", "patient", page=client.startswith("client"))
        yield Run(client, command, "auto", "rounds, late", "call", "brief", LATE_S)
        yield Run(client, command, "auto", "ticket", "collect", "brief", OVER_S)
    yield Run("python 1.30.0", PYTHON_1, "legacy", "task of 2025", "task", "brief", LATE_S)
    yield Run("sdk 1.32.2", SDK_1, "legacy", "task of 2025", "task", "brief", LATE_S, page=True)
    yield Run("client 2.4.0 + ext-tasks", CLIENT_2, "auto", "task", "task", "brief", LATE_S, page=True)
    yield Run("python 2.3.0 + claim", PYTHON_2, "auto", "task", "task", "brief", LATE_S, extensions=TASKS)
    # Here it gets no task, nor would the SDK's own client take one.
    yield Run("client 2.4.0 + ext-tasks", CLIENT_2, "auto", "rounds, untold", "task", "no tasks", LATE_S)
    yield Run("client 2.4.0, tasks told", CLIENT_2, "auto", "rounds, untold", "call", "no tasks", LATE_S, extensions=TASKS)


@dataclasses.dataclass(frozen=True)
class Case:
    """One call, and what somebody does about it."""

    run: Run
    deed: str
    tool: str
    arguments: dict
    edited: dict | None

    @property
    def sent(self):
        """The arguments that the tool gets."""
        return self.edited or self.arguments


def cases(run, number):
    def path(deed):
        return f"/{number}/{deed}"

    yield Case(run, "approve", "echo", {"path": path("echo"), "n": [1, {"ü": "世界"}]}, None)
    sends = {deed: {"to": "ann@example.com", "path": path(deed), "copies": 2} for deed in ("approve", "deny", "edit")}
    # These have an output schema, which SDKs hold the answer to.
    yield Case(run, "approve", "send_file", sends["approve"], None)
    yield Case(run, "deny", "send_file", sends["deny"], None)
    yield Case(run, "edit", "send_file", sends["edit"], {**sends["edit"], "copies": 3})


class Reviewer(threading.Thread):
    """Somebody who decides each hold of one gate, when its time has come."""

    def __init__(self, operator, page, planned):
        super().__init__(daemon=True)
        self.operator, self.page, self.planned = operator, page, planned
        self.over = threading.Event()
        self.faults, self.decided = [], {}
        self.first_seen = {}

    def ask(self, path, body=None):
        request = urllib.request.Request(
            f"{self.operator}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def run(self):
        while not self.over.wait(0.1):
            try:
                self.look()
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                if len(self.faults) > 20:
                    return

    def look(self):
        for held in self.ask("/holds?state=pending&limit=500")["holds"]:
            name = held["id"]
            if name in self.decided:
                continue
            hold = self.ask(f"/holds/{name}")
            case = self.planned[hold["arguments"]["path"]]
            seen = self.first_seen.setdefault(name, time.monotonic())
            if time.monotonic() - seen < case.run.after_s:
                continue
            self.decided[name] = case
            if case.run.page and self.page:
                self.page.decide(name, case)
            else:
                self.decide(name, hold["hash"], case)

    def decide(self, name, digest, case):
        body = {
            "approve": {"hash": digest},
            "deny": {"reason": REASON},
            "edit": {"hash": digest, "arguments": case.edited},
        }[case.deed]
        self.ask(f"/holds/{name}/{case.deed}", body)


class Page:
    """The same in Chromium, one hold after the other."""

    def __init__(self, operator, work):
        env = {**os.environ, "OPERATOR_URL": operator, "REVIEWER_TOKEN": TOKEN, "BROWSER_SESSION": str(work / "session.json")}
        command = [str(NODE), str(ROOT / "tests/browser/decide.mjs")]
        self.log = open(work / "browser.log", "w+")
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.said = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.child.stdout:
            if line.startswith("{"):
                self.said.append(json.loads(line))

    def decide(self, name, case):
        deed = {"id": name, "deed": case.deed, "reason": REASON, "arguments": case.edited}
        self.child.stdin.write(json.dumps(deed) + "\n")
        self.child.stdin.flush()

    def close(self):
        self.child.stdin.close()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
        self.log.close()


@contextlib.contextmanager
def gate(binary, url, work, hold):
    """A gate before `url`; where agents and where reviewers find it."""
    port, operator = compare.free_port(), compare.free_port()
    (work / "policies").mkdir()
    (work / "policies/permission.rego").write_text(compare.POLICY)
    (work / "policies/reversibility.rego").write_text(POLICY)
    (work / "tools.yaml").write_text(compare.TOOLS)
    (work / "ann.token").write_text(TOKEN)
    (work / "ann.token").chmod(0o600)
    config = work / "config.yaml"
    config.write_text(CONFIG.format(port=port, operator=operator, work=work, url=url, hold=hold))
    with compare.started([binary, "run", "--config", config], port, work):
        yield f"http://127.0.0.1:{port}/mcp/upstream", f"http://127.0.0.1:{operator}"


def client(run, url, steps):
    """What the client of a run saw."""
    extensions = {name: {} for name in run.extensions}
    scenario = {"mode": run.mode, "extensions": extensions, "steps": [{"do": "list"}, *steps]}
    command = [*map(str, run.command), url, json.dumps(scenario)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False)
    seen = json.loads(done.stdout) if done.stdout else {"failed": done.stderr[-2000:]}
    if "failed" in seen:
        sys.exit(f"held: {run.client} at {url}: {seen['failed']}")
    return seen


def step(case, kind=None, arguments=None):
    kind = kind or case.run.step
    arguments = arguments or case.arguments
    return {"do": kind, "tool": case.tool, "args": arguments, "timeout_ms": "default", "progress": kind == "call", "pause_ms": PAUSE_MS}


def essence(answer, protocol):
    """An answer less what belongs to one exchange."""
    answer = copy.deepcopy(answer)
    answer.pop("_meta", None)
    # Some SDKs take it off, and some give it on. Older revisions do not have it.
    if protocol >= "2026":
        answer.pop("resultType", None)
    echoed = answer.get("structuredContent", {})
    if "arguments" in echoed:
        answer["structuredContent"] = {"arguments": echoed["arguments"]}
        answer["content"][0]["text"] = json.dumps(json.loads(answer["content"][0]["text"])["arguments"], sort_keys=True)
    return answer


def faults_of(case, result, direct, protocol):
    """What is wrong with what the client got."""
    if "error" in result:
        return [f"error {result['error']}"]
    answer = result["ok"] if case.run.step == "call" else result["ok"]["answer"]
    faults = []
    if case.run.step == "collect" and not result["ok"]["tickets"]:
        faults.append("there was no ticket")
    if case.run.is_task and "waits for a signature" not in "".join(result["ok"]["statuses"]):
        faults.append(f"the task did not wait: {result['ok']['statuses']}")
    words = " ".join(part.get("text", "") for part in answer.get("content", []))
    told = answer.get("_meta", {}).get("io.countersign/hold", {})
    if case.deed == "deny":
        if answer.get("isError") is not True or REASON not in words or told.get("state") != "denied":
            faults.append(f"no denial with its reason: {answer}")
        return faults
    if case.deed == "edit":
        if "/copies" not in words or told.get("edited", {}).get("changed") != ["/copies"]:
            faults.append(f"not told what was changed: {answer}")
        answer = {**answer, "content": answer["content"][:-1]}
    answer, direct = essence(answer, protocol), essence(direct, protocol)
    if answer != direct:
        faults.append(f"not the true result: {answer}, direct {direct}")
    return faults


def outcome(run, planned, urls, direct_url):
    """One row of the table: the run, what came of each deed, and what was wrong."""
    sent = [case for case in planned if case.deed != "deny"]
    direct = client(run, direct_url, [step(case, "call", case.sent) for case in sent])["results"][1:]
    direct = {id(case): result["ok"] for case, result in zip(sent, direct, strict=True)}
    seen = client(run, urls[run.gate], [step(case) for case in planned])
    words, faults = [], []
    for case, result in zip(planned, seen["results"][1:], strict=True):
        wrong = faults_of(case, result, direct.get(id(case)), seen["protocol"])
        words.append("WRONG" if wrong else {"approve": "result", "deny": "reason", "edit": "result and change"}[case.deed])
        faults += [f"{case.deed} {case.tool}: {fault}" for fault in wrong]
    posts = sum(exchange["method"] == "POST" for exchange in seen["http"])
    if run.shape in ("rounds, late", "rounds, untold") and posts < 2 * len(planned):
        faults.append(f"it did not come back: {posts} requests")
    if run.shape == "stream" and not any("held as" in str(report.get("message")) for report in seen["progress"]):
        faults.append("it heard of no progress")
    return run, seen["protocol"], words, faults


def calls(url):
    """How often each held tool was called."""
    seen = client(Run("counter", PYTHON_2, "auto", "", "call", ""), url, [{"do": "call", "tool": "seen"}])
    counted = seen["results"][1]["ok"]["structuredContent"]["calls"]
    return {tool: counted.get(tool, 0) for tool in ("echo", "send_file")}


def tell(rows):
    """Prints the table; how many rows are wrong."""
    print(f"{'client':26} {'revision':12} {'shape':14} {'by':5} {'approve':8} {'approve':8} {'deny':8} edit")
    for run, protocol, words, faults in rows:
        by = "page" if run.page else "API"
        print(f"{run.client:26} {protocol or '':12} {run.shape:14} {by:5} {words[0]:8} {words[1]:8} {words[2]:8} {words[3]}")
        for fault in faults:
            print(f"    WRONG {fault[:1500]}")
    return sum(bool(faults) for *_, faults in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--gate", default=str(TARGET / "debug/countersign"))
    parser.add_argument("--bin", type=pathlib.Path, default=TARGET / "debug/examples")
    parser.add_argument("--no-browser", action="store_true", help="all by the API")
    parser.add_argument("--only", default="", help="the runs with this in `client: shape`")
    arguments = parser.parse_args()
    chosen = [run for run in runs() if arguments.only in f"{run.client}: {run.shape}"]
    if arguments.no_browser:
        chosen = [dataclasses.replace(run, page=False) for run in chosen]
    planned = {run: list(cases(run, number)) for number, run in enumerate(chosen)} if chosen else {}
    with contextlib.ExitStack() as stack:
        sys.exit(1 if held(arguments, planned, stack) else 0)


def held(arguments, planned, stack):
    """Runs all; how much was wrong."""

    def directory():
        return pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="held-")))

    direct = stack.enter_context(compare.rmcp(arguments, directory()))
    upstreams = []
    by_path = {case.arguments["path"]: case for each in planned.values() for case in each}
    urls, reviewers = {}, []
    for name, (hold, flags) in GATES.items():
        work = directory()
        upstream = stack.enter_context(compare.rmcp(arguments, directory(), *flags))
        upstreams.append(upstream)
        urls[name], operator = stack.enter_context(gate(arguments.gate, upstream, work, hold))
        page = None
        if any(run.page and run.gate == name for run in planned):
            page = Page(operator, work)
            stack.callback(page.close)
        reviewers.append(Reviewer(operator, page, by_path))
        reviewers[-1].start()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(lambda each: outcome(*each, urls, direct), planned.items()))
    wrong = tell(rows)
    for reviewer in reviewers:
        reviewer.over.set()
        failed = [said for said in (reviewer.page.said if reviewer.page else []) if "failed" in said]
        for fault in [*reviewer.faults, *failed]:
            wrong += 1
            print(f"WRONG reviewer: {fault}")
    expected = collections.Counter(case.tool for case in by_path.values() if case.deed != "deny")
    called = sum((collections.Counter(calls(upstream)) for upstream in upstreams), collections.Counter())
    if called != expected:
        wrong += 1
        print(f"WRONG: the tools were called {dict(called)} times and not {dict(expected)}")
    return wrong


if __name__ == "__main__":
    main()
