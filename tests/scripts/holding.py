"""What do the scripts about held calls share: clients of each kind, reviewers, and who was told what?"""

import asyncio
import contextlib
import json
import random

from soaking.gate import Gate
from soaking.server import Upstream
from soaking.wire import Broken, read_body, read_head
from soaking.words import META, STATELESS, violation

TASKS = "io.modelcontextprotocol/tasks"
HOLD = "io.countersign/hold"
REVIEWERS = ("ann", "ben", "cem")
# How many people must sign a call of each tool.
SIGNATURES = {"note": 1, "pay": 2}
# Where a hold is on its way; it only goes on.
RANK = {"pending": 0, "approved": 1, "executing": 2}
OVER = 3
POLICY = """package countersign.reversibility

signatures := {"note": 1, "pay": 2}

hold contains {"code": "held", "message": "needs a signature", "approvals": signatures[input.call.tool]}
"""


class Held(Gate):
    """A gate that holds `note` for one signature and `pay` for two."""

    def __init__(self, binary, out, upstream, hold):
        super().__init__(binary, out, upstream, hold="")
        self.base = (out / "countersign.yaml").read_text()
        people = ""
        for name in REVIEWERS:
            token = out / f"{name}.token"
            token.write_text(f"r3v13w-of-{name}-88aa41c7f0")
            token.chmod(0o600)
            people += f"  - {{id: {name}, groups: [ops], token: {{file: ./{name}.token}}}}\n"
        self.base += "reviewers:\n" + people
        (out / "policies/reversibility.rego").write_text(POLICY)
        self.holds(hold)

    def holds(self, hold):
        """How calls wait, from the next start on."""
        (self.out / "countersign.yaml").write_text(self.base + f"hold: {hold}\n")


class Server(Upstream):
    """Counts what ran by the text that came with it."""

    def lists(self, message):
        listed = super().lists(message)
        for tool in listed.get("tools", []):
            if tool["name"] in SIGNATURES:
                schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
                tool["inputSchema"] = schema
        return listed

    async def answer(self, method, headers, body, writer):
        if method == "POST" and body and json.loads(body).get("method") == "tools/call":
            headers = {**headers, "traceparent": "-" + json.loads(body)["params"]["arguments"]["text"]}
        await super().answer(method, headers, body, writer)


class Told:
    """What the gate said of holds: none of it may be undone."""

    def __init__(self):
        self.states = {}  # id: (rank, state)
        self.versions = {}  # id: (version, hash, signers), as reviewers were told

    def heard(self, hold, state):
        rank, before = RANK.get(state, OVER), self.states.get(hold, (-1, None))
        if before[0] == OVER and rank == OVER and before[1] != state:
            violation("a hold ended twice", f"{hold}: {before[1]}, then {state}")
        if rank > before[0]:
            self.states[hold] = (rank, state)

    def saw(self, whole):
        hold = whole["id"]
        self.heard(hold, whole["state"])
        now = (whole["version"], whole["hash"], signers(whole))
        self.versions[hold] = max(now, self.versions.get(hold, now), key=lambda seen: seen[0])

    def still(self, hold, now):
        """Holds what is kept to what was told."""
        rank, state = self.states[hold]
        if now is None:
            return violation("a hold is lost", f"{hold}, which was {state}")
        is_now = RANK.get(now["state"], OVER)
        if is_now < rank or (rank == OVER and state != now["state"]):
            violation("a hold went back", f"{hold}: {state}, then {now['state']}")
        version, hash, signed = self.versions.get(hold, (0, None, frozenset()))
        if now["version"] < version:
            violation("a change of a hold is lost", f"{hold}: version {version}, then {now['version']}")
        # Whoever edits it asks all others anew.
        if now["hash"] == hash and not signed <= signers(now):
            violation("a signature is lost", f"{hold}: of {signed - signers(now)}")


def signers(hold):
    return frozenset(signature["reviewer"] for signature in hold["signatures"])


async def exchange(streams, head, body=b""):
    reader, writer = streams
    writer.write(head.encode() + body)
    first, headers = await read_head(reader)
    return int(first.split(" ")[1]), headers, await read_body(reader, headers)


class Api:
    """A reviewer's connection to the operators' listener."""

    def __init__(self, gate, who, told):
        self.gate, self.who, self.told = gate, who, told
        self.streams = None

    async def __aenter__(self):
        self.streams = await asyncio.open_connection("127.0.0.1", self.gate.operator)
        return self

    async def __aexit__(self, *_):
        self.streams[1].transport.abort()

    async def ask(self, method, path, fields=None):
        body = b"" if fields is None else json.dumps(fields).encode()
        head = (
            f"{method} /api/v1{path} HTTP/1.1\r\nhost: 127.0.0.1:{self.gate.operator}\r\n"
            f"authorization: Bearer r3v13w-of-{self.who}-88aa41c7f0\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        status, _, answer = await exchange(self.streams, head, body)
        return status, json.loads(answer)

    async def decide(self, hold):
        """Mostly yes, sometimes no, sometimes something else instead."""
        path, chance = f"/holds/{hold['id']}", random.random()
        if chance < 0.08:
            status, answer = await self.ask("POST", path + "/deny", {"reason": "no"})
        elif chance < 0.12:
            text = f"{random.getrandbits(128):032x}"
            fields = {"hash": hold["hash"], "arguments": {"text": text}}
            status, answer = await self.ask("POST", path + "/edit", fields)
        else:
            status, answer = await self.ask("POST", path + "/approve", {"hash": hold["hash"]})
        if status == 200:
            self.told.saw(answer)
        elif status not in (403, 409):
            violation("a decision was refused", f"{status} {answer}")

    async def review_on(self):
        """Decides what waits until nobody answers."""
        with contextlib.suppress(Broken, ConnectionError):
            async with self:
                while True:
                    _, page = await self.ask("GET", "/holds?state=pending&limit=50")
                    for hold in random.sample(page["holds"], len(page["holds"])):
                        await self.decide(hold)
                    await asyncio.sleep(random.random() * 0.05)

    async def whole(self, hold):
        status, answer = await self.ask("GET", f"/holds/{hold}")
        return answer if status == 200 else None

    async def every(self):
        """All holds, as the list has them."""
        found = []
        while True:
            _, page = await self.ask("GET", f"/holds?limit=500&offset={len(found)}")
            found += page["holds"]
            if len(found) >= page["total"] or not page["holds"]:
                return found


class Client:
    """Makes one held call after the other, each again until it knows what came of it."""

    def __init__(self, gate, kind, told):
        self.gate, self.kind, self.told = gate, kind, told
        self.results = set()  # texts whose tools' answers came
        self.streams = None
        self.forget()

    def forget(self):
        self.tool, self.text = random.choice(list(SIGNATURES)), f"{random.getrandbits(128):032x}"
        self.task = None

    async def call_on(self):
        """Until nobody answers; goes on with the same call when the gate is back."""
        with contextlib.suppress(Broken, ConnectionError):
            self.streams = await asyncio.open_connection("127.0.0.1", self.gate.port)
            try:
                while True:
                    await self.step()
            finally:
                self.streams[1].transport.abort()

    async def step(self):
        if self.task is not None:
            return await self.ask_for_task()
        state = None
        while True:
            more = {} if state is None else {"requestState": state}
            result = await self.request("tools/call", {"name": self.tool, "arguments": {"text": self.text}, **more}, self.tool)
            state = result.get("requestState") if result.get("resultType") == "input_required" else None
            if state is None:
                break
            self.hear(result)
        self.hear(result)
        if result.get("resultType") == "task":
            self.task = result["taskId"]
            return None
        return self.over(result)

    def hear(self, result):
        hold = result.get("_meta", {}).get(HOLD, {})
        # A result that was edited says only that.
        if "state" in hold:
            self.told.heard(hold["id"], hold["state"])

    def over(self, result):
        hold = result.get("_meta", {}).get(HOLD, {})
        if result.get("isError") and hold.get("state") in RANK:
            return
        if not result.get("isError"):
            self.results.add(json.loads(result["content"][0]["text"])["text"])
        self.forget()

    async def ask_for_task(self):
        if random.random() < 0.01:
            await self.request("tasks/cancel", {"taskId": self.task}, self.task)
        result = await self.request("tasks/get", {"taskId": self.task}, self.task)
        if result["status"] == "working":
            self.told.heard(self.task, "pending")
            return await asyncio.sleep(0.02)
        if result["status"] == "completed":
            return self.over(result["result"])
        return self.forget()

    async def request(self, method, params, name):
        head = (
            f"POST /mcp/soak HTTP/1.1\r\nhost: 127.0.0.1:{self.gate.port}\r\n"
            "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        )
        if self.kind != "older":
            extensions = {"extensions": {TASKS: {}}} if self.kind == "tasks" else {}
            params["_meta"] = {META + "protocolVersion": STATELESS, META + "clientCapabilities": extensions}
            head += f"mcp-protocol-version: {STATELESS}\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n"
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        _, headers, answer = await exchange(self.streams, head + f"content-length: {len(body)}\r\n\r\n", body)
        if headers["content-type"].startswith("text/event-stream"):
            events = [line[6:] for line in answer.decode().split("\n") if line.startswith("data: ")]
            if not events:
                raise Broken
            answer = events[-1]
        message = json.loads(answer)
        if "result" not in message:
            violation("a call got an error of the protocol", message)
            raise Broken
        return message["result"]
