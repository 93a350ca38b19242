#!/usr/bin/env python3
"""Does the gate stay right, and its memory flat, while everything happens at once?

    soak.py --binary PATH --minutes N --out DIR [--rate CALLS_PER_SECOND]

Starts an MCP server of its own, the gate in front of it, and for N minutes
sends a mix: plain and streamed calls of both protocols, calls that policy
denies or holds, malformed bodies, hang-ups before, within and after a request,
streams that are opened and dropped. Meanwhile the policies change each 10 s
(each fourth time they are broken for a while) and the server is gone for 2 s
of each minute.

Each call carries a trace id that nobody else has. The gate puts it on record
and passes it on, so that what clients saw, what the server ran and what is on
record can be compared call by call. Exits 1 if anything does not agree, and
leaves the log, the memory samples and the record in DIR.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

STATEFUL, STATELESS = "2025-11-25", "2026-07-28"
META = "io.modelcontextprotocol/"
RELOAD_S, BROKEN_S, RESTART_S, DOWN_S, SAMPLE_S = 10, 3, 60, 2, 10
WORKERS, LISTENERS = 24, 6
# In the first minutes memory grows: caches and connections fill.
ENOUGH_SAMPLES = 5 * 60 // SAMPLE_S
# What a client may wait for any one answer.
PATIENCE_S = 20
DRAIN_S = 30

TOOLS = {
    # name: (arguments, tier)
    "echo": ({"text": {"type": "string"}}, "low"),
    "note": ({"text": {"type": "string"}}, "medium"),
    "pay": ({"amount": {"type": "integer"}}, "medium"),
    "ticks": ({"count": {"type": "integer"}}, "low"),
    "resumed": ({"count": {"type": "integer"}}, "low"),
    "slow": ({"ms": {"type": "integer"}}, "low"),
    "forbidden": ({"text": {"type": "string"}}, "low"),
    "wipe": ({"text": {"type": "string"}}, "high"),
}
PERMISSION = """package countersign.permission

import data.soak

default allow := false

allow if soak.allowed[input.call.tool]

visible if soak.allowed[input.call.tool]

deny contains {"code": "too_much", "message": "that is too much to pay"} if {
	input.call.tool == "pay"
	input.call.arguments.amount > soak.limit
}
"""
REVERSIBILITY = """package countersign.reversibility

hold contains {"code": "irreversible", "message": "needs a signature", "reviewers": ["group:ops"]} if {
	input.tool.tier == "high"
}
"""
ALLOWED = {name: True for name in TOOLS if name != "forbidden"}

# What came of a call, as its client saw it.
RESULT, REFUSED, FAILED, CUT, GONE = "result", "refused", "failed", "cut", "gone"
# What a refusal may say while the server is away; anything else is a decision.
FAILURES = {"upstream_unreachable", "outcome_unknown", "invalid_answer"}
# The effect and code of a call that is not on record.
NOT_THERE = (None, None)
# What has to become of a call.
ALLOW, REFUSE = "allow", "refuse"


class Violations(collections.Counter):
    """What did not agree, counted, with the first few of each kind told."""

    def __call__(self, kind, detail=""):
        self[kind] += 1
        if self[kind] <= 5:
            print(f"VIOLATION {kind}: {detail}", flush=True)


violation = Violations()


class Stalls:
    """When this script itself stood still: what it then waits for says nothing of the gate."""

    def __init__(self):
        self.last = 0.0
        self.longest = 0.0

    async def watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.25)
            late = time.monotonic() - before - 0.25
            self.longest = max(self.longest, late)
            if late > 1:
                self.last = time.monotonic()

    def lately(self):
        return time.monotonic() - self.last < 2 * PATIENCE_S


stalls = Stalls()


# HTTP/1.1, as far as both sides of the gate need it.


class Broken(Exception):
    """The other side ended the connection."""


async def read_head(reader):
    """The first line, and the headers by lower-case name."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken from error
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.lower(): value.strip() for name, value in pairs}


async def pieces(reader, headers):
    """The body, piece by piece."""
    try:
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", 0))
            if length:
                yield await reader.readexactly(length)
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken from error


async def read_body(reader, headers):
    return b"".join([piece async for piece in pieces(reader, headers)])


def trace_of(headers):
    """The trace id in a `traceparent`."""
    return headers.get("traceparent", "--").split("-")[1]


# The server.


class Upstream:
    """An MCP server that counts which traces reached a tool."""

    def __init__(self):
        self.executed = collections.Counter()
        self.sessions = set()
        self.pending = {}
        self.tasks = set()
        self.server = None
        self.port = 0

    async def start(self):
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        """As a crash would: connections end, sessions are forgotten."""
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.sessions.clear()
        self.pending.clear()

    async def connection(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            while True:
                first, headers = await read_head(reader)
                method = first.split(" ", 1)[0]
                await self.answer(method, headers, await read_body(reader, headers), writer)
        except (Broken, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self.tasks.discard(task)

    async def answer(self, method, headers, body, writer):
        session = headers.get("mcp-session-id")
        stateless = headers.get("mcp-protocol-version") == STATELESS
        if session is not None and session not in self.sessions:
            return respond(writer, 404, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"no such session"}}')
        if method == "GET":
            return await self.listen(headers, writer)
        if method == "DELETE":
            self.sessions.discard(session)
            return respond(writer, 200, b"")
        message = json.loads(body)
        if "id" not in message:
            return respond(writer, 202, b"")
        call = message["method"] == "tools/call"
        if call:
            self.executed[trace_of(headers)] += 1
            return await self.call(message, stateless, writer)
        opened = None
        if message["method"] == "initialize":
            opened = f"{random.getrandbits(128):032x}"
            self.sessions.add(opened)
        return respond(writer, 200, reply(message["id"], self.lists(message), stateless), opened)

    def lists(self, message):
        capabilities = {"tools": {}, "logging": {}}
        if message["method"] == "initialize":
            version = message["params"]["protocolVersion"]
            return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "soak", "version": "1"}}
        if message["method"] == "server/discover":
            return {"supportedVersions": [STATELESS], "capabilities": capabilities}
        if message["method"] == "tools/list":
            return {"tools": [definition(name) for name in TOOLS], "ttlMs": 1000, "cacheScope": "public"}
        return {}

    async def call(self, message, stateless, writer):
        name, arguments = message["params"]["name"], message["params"]["arguments"]
        done = reply(message["id"], {"content": [{"type": "text", "text": json.dumps(arguments)}]}, stateless)
        if name == "slow":
            await asyncio.sleep(arguments["ms"] / 1000)
        if name not in ("ticks", "resumed"):
            return respond(writer, 200, done)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if name == "resumed":
            # Ends before its answer, which waits under the event's id.
            event_id = f"{random.getrandbits(64):016x}"
            self.pending[event_id] = done
            event(writer, b"", event_id)
        else:
            for tick in range(arguments["count"]):
                event(writer, notification(tick))
                await writer.drain()
                await asyncio.sleep(0.01)
            event(writer, done)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def listen(self, headers, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        last = headers.get("last-event-id")
        if last is not None:
            answer = self.pending.pop(last, None)
            if answer is not None:
                event(writer, answer)
            writer.write(b"0\r\n\r\n")
            return await writer.drain()
        for tick in range(1_000_000):
            event(writer, notification(tick))
            await writer.drain()
            await asyncio.sleep(0.5)


def definition(name):
    properties, _ = TOOLS[name]
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": f"{name} for the soak", "inputSchema": schema}


def notification(tick):
    params = {"level": "info", "data": f"tick {tick}"}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": params}).encode()


def reply(request_id, result, stateless):
    if stateless:
        result = {"resultType": "complete", **result}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()


def respond(writer, status, body, session=None):
    opened = f"mcp-session-id: {session}\r\n" if session else ""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{opened}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def event(writer, data, event_id=None):
    text = (f"id: {event_id}\n".encode() if event_id else b"") + b"data: " + data + b"\n\n"
    writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")


# The clients.


class Link:
    """One connection to the gate, opened when it is first needed."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def send(self, method, headers, body=b"", upto=None):
        """Sends a request; `upto` sends only so many bytes of its body."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"host": f"127.0.0.1:{self.port}", "content-length": len(body), **headers}
        head = f"{method} /mcp/soak HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        try:
            self.writer.write(head.encode() + b"\r\n" + body[:upto])
            await self.writer.drain()
        except ConnectionError as error:
            raise Broken from error

    async def head(self):
        """The status and headers of the answer."""
        first, headers = await read_head(self.reader)
        if headers.get("connection") == "close":
            headers["close"] = "yes"
        return int(first.split(" ")[1]), headers

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None


class Load:
    """Sends the mix, and keeps what came of each call."""

    def __init__(self, port, rate):
        self.port = port
        self.interval = WORKERS / rate
        self.sent = collections.Counter()
        self.saw = collections.Counter()
        self.calls = {}  # trace id: (what has to become of it, what its client saw)
        self.decisions = set()  # ids that clients were told
        self.next_id = 0
        self.stopping = False

    def traced(self):
        trace = f"{random.getrandbits(128) | 1:032x}"
        return trace, {"traceparent": f"00-{trace}-{random.getrandbits(64) | 1:016x}-00"}

    def request(self, method, params, session=None, stateless=False):
        """The headers and the message of a request."""
        self.next_id += 1
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if stateless:
            meta = {META + "protocolVersion": STATELESS, META + "clientCapabilities": {}}
            params = {**params, "_meta": meta}
            headers |= {"mcp-protocol-version": STATELESS, "mcp-method": method}
            if method == "tools/call":
                headers["mcp-name"] = params["name"]
        else:
            headers["mcp-protocol-version"] = STATEFUL
        if session:
            headers["mcp-session-id"] = session
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        return headers, message

    async def open_session(self, link):
        client = {"name": "soak", "version": "1"}
        params = {"protocolVersion": STATEFUL, "capabilities": {}, "clientInfo": client}
        headers, message = self.request("initialize", params)
        await link.send("POST", headers, json.dumps(message).encode())
        status, answered = await link.head()
        await read_body(link.reader, answered)
        session = answered.get("mcp-session-id")
        if status != 200 or session is None:
            return None
        headers, message = self.request("notifications/initialized", {}, session)
        del message["id"]
        await link.send("POST", headers, json.dumps(message).encode())
        _, answered = await link.head()
        await read_body(link.reader, answered)
        return session

    async def worker(self, number):
        """A client that does one thing after another, at its pace."""
        link, session, do = Link(self.port), None, Load.open_session
        await asyncio.sleep(random.random() * self.interval)
        due = time.monotonic()
        while not self.stopping:
            due = max(due + self.interval, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if session is None:
                        session = await self.open_session(link)
                        continue
                    do = random.choices(ACTIONS, WEIGHTS)[0]
                    self.sent[do.__name__] += 1
                    if await do(self, link, session) == "session gone":
                        session = None
            except TimeoutError:
                link.close()
                # What came late may be our own doing; what is told after this turn is not.
                await asyncio.sleep(1)
                if stalls.lately():
                    self.saw["too late, as this script stood still"] += 1
                else:
                    violation("an answer did not come", f"within {PATIENCE_S} s, worker {number}, {do.__name__}")
            except (Broken, ConnectionError):
                # Only a call knows whether it may break off; it keeps that itself.
                self.saw["connection ended between"] += 1
                link.close()
        if session is not None:
            with contextlib.suppress(Broken, ConnectionError):
                headers, _ = self.request("", {}, session)
                await link.send("DELETE", headers)
                await link.head()
        link.close()

    async def call(self, link, session, tool, arguments, expect, stateless=False):
        """Calls a tool to the end and holds the answer to what is expected."""
        trace, parent = self.traced()
        headers, message = self.request("tools/call", {"name": tool, "arguments": arguments}, session, stateless)
        saw, status, events = CUT, 0, 0
        try:
            await link.send("POST", headers | parent, json.dumps(message).encode())
            status, answered = await link.head()
            if answered["content-type"].startswith("text/event-stream"):
                data, events = await self.last_event(link, answered)
            else:
                data = await read_body(link.reader, answered)
            saw = self.judge(status, data, message["id"])
            if "close" in answered:
                link.close()
        except Broken:
            link.close()
            # A stream whose server crashes is cut short; nothing else may be.
            if status == 0:
                violation("a call got no answer", f"{tool}, trace {trace}")
        finally:
            self.calls[trace] = (expect, saw)
            self.saw[f"{expect}: {saw}"] += 1
        if expect == REFUSE and saw not in (REFUSED, FAILED):
            violation("a call that is not allowed was answered", f"{tool}: {saw}, trace {trace}")
        if expect == REFUSE and saw == FAILED and status != 404:
            violation("a call that is not allowed went upstream", f"{tool}, trace {trace}")
        if expect == ALLOW and saw == REFUSED:
            violation("a call that is allowed was refused", f"{tool}: {data[:400]}, trace {trace}")
        if saw == RESULT and tool == "ticks" and events != arguments["count"] + 1:
            violation("events of a stream are missing", f"{events} of {arguments['count'] + 1}")
        return "session gone" if status == 404 else saw

    async def last_event(self, link, headers):
        """The data of a stream's last event that has any, and how many there were."""
        buffer, last, count = b"", b"", 0
        async for piece in pieces(link.reader, headers):
            buffer += piece
            *events, buffer = buffer.split(b"\n\n")
            for text in events:
                data = b"".join(line[5:].strip() for line in text.split(b"\n") if line.startswith(b"data:"))
                last, count = data or last, count + bool(data)
        return last, count

    def judge(self, status, data, request_id):
        """What an answer says."""
        if status == 404:
            return FAILED
        if not data:
            return CUT
        message = json.loads(data)
        if status != 200 or message.get("id") != request_id:
            violation("an answer is not to the question", f"{status} {data[:400]}")
            return FAILED
        result = message.get("result", {})
        meta = result.get("_meta", {}).get("io.countersign/refusal") or message.get("error", {}).get("data")
        if meta is None:
            return RESULT
        self.decisions.add(int(meta["decision"].replace("-", ""), 16))
        return FAILED if meta["code"] in FAILURES else REFUSED

    async def listener(self):
        """A client that opens a session's own stream, reads a while and is gone."""
        while not self.stopping:
            link = Link(self.port)
            try:
                async with asyncio.timeout(random.uniform(0.3, 8)):
                    session = await self.open_session(link)
                    if session is None:
                        await asyncio.sleep(0.5)
                        continue
                    headers, _ = self.request("", {}, session)
                    await link.send("GET", headers | {"accept": "text/event-stream"})
                    status, answered = await link.head()
                    self.sent["listen"] += 1
                    self.saw[f"listen: {status}"] += 1
                    async for _ in pieces(link.reader, answered):
                        pass
            except (TimeoutError, Broken, ConnectionError):
                pass
            finally:
                link.close()

    # What is in the mix.

    async def plain(self, link, session):
        return await self.call(link, session, "echo", {"text": text()}, ALLOW)

    async def durable(self, link, session):
        return await self.call(link, session, "note", {"text": text()}, ALLOW)

    async def stateless(self, link, session):
        return await self.call(link, None, "echo", {"text": text()}, ALLOW, True)

    async def paying(self, link, session):
        amount = random.randint(1, 200)
        return await self.call(link, session, "pay", {"amount": amount}, REFUSE if amount > 100 else ALLOW)

    async def streamed(self, link, session):
        return await self.call(link, session, "ticks", {"count": random.randint(2, 6)}, ALLOW)

    async def streamed_stateless(self, link, session):
        return await self.call(link, None, "ticks", {"count": random.randint(2, 6)}, ALLOW, True)

    async def denied(self, link, session):
        return await self.call(link, session, "forbidden", {"text": text()}, REFUSE)

    async def held(self, link, session):
        return await self.call(link, None, "wipe", {"text": text()}, REFUSE, True)

    async def unfit(self, link, session):
        return await self.call(link, session, "echo", random.choice([{}, {"text": 1}, {"text": "a", "more": 1}]), REFUSE)

    async def unknown(self, link, session):
        return await self.call(link, session, "nothing", {}, REFUSE)

    async def lists(self, link, session):
        headers, message = self.request("tools/list", {}, session)
        await link.send("POST", headers, json.dumps(message).encode())
        status, answered = await link.head()
        data = await read_body(link.reader, answered)
        if status == 404:
            return "session gone"
        if status != 200:
            violation("a list was not answered", f"{status} {data[:400]}")
            return None
        seen = {tool["name"] for tool in json.loads(data).get("result", {}).get("tools", [])}
        if seen and seen != set(ALLOWED):
            violation("a list shows what it should not, or hides what it should", sorted(seen ^ set(ALLOWED)))
        return None

    async def malformed(self, link, session):
        own = Link(self.port)
        headers, message = self.request("tools/call", {"name": "echo", "arguments": {"text": "a"}}, session)
        body = json.dumps(message).encode()
        body = random.choice([
            body[:-3],
            body.replace(b'"id"', b'"id": 1, "id"'),
            body.replace(b'"a"', b'"\xff"'),
            body.replace(b'"a"', b'"\\ud800"'),
            body.replace(b'"a"', b"1" + b"0" * 400),
            body.replace(b'"a"', b"[" * 500 + b"]" * 500),
            b"[" + body + b"]",
            b"",
            b"null",
            random.randbytes(200),
        ])
        try:
            await own.send("POST", headers, body)
            status, answered = await own.head()
            data = await read_body(own.reader, answered)
            decision = json.loads(data)["error"]["data"].get("decision")
            if decision:
                self.decisions.add(int(decision.replace("-", ""), 16))
            if not 400 <= status < 500:
                violation("a malformed body was not refused", f"{status} to {body[:200]}: {data[:200]}")
        finally:
            own.close()

    async def hang_up_within_request(self, link, session):
        own = Link(self.port)
        headers, message = self.request("tools/call", {"name": "echo", "arguments": {"text": text()}}, session)
        body = json.dumps(message).encode()
        await own.send("POST", headers, body, upto=random.randrange(len(body)))
        own.close()

    async def hang_up_before_answer(self, link, session):
        # While it is decided, while its record goes to disk, or while the server works.
        tool, arguments = random.choice([("slow", {"ms": random.randint(20, 200)}), ("note", {"text": text()})])
        await self.hang_up(tool, arguments, session, None)

    async def hang_up_within_stream(self, link, session):
        await self.hang_up("ticks", {"count": 20}, session, 1)

    async def hang_up(self, tool, arguments, session, read):
        """Calls, reads so many pieces of the answer, and is gone."""
        own, stateless = Link(self.port), random.random() < 0.5
        trace, parent = self.traced()
        session = None if stateless else session
        headers, message = self.request("tools/call", {"name": tool, "arguments": arguments}, session, stateless)
        await own.send("POST", headers | parent, json.dumps(message).encode())
        self.calls[trace] = (ALLOW, GONE)
        self.saw[f"{ALLOW}: {GONE}"] += 1
        with contextlib.suppress(Broken):
            if read is None:
                await asyncio.sleep(random.choice([0.002, 0.03]) * random.random())
            else:
                _, answered = await own.head()
                async for _ in pieces(own.reader, answered):
                    break
        own.close()

    async def resumes(self, link, session):
        """Its stream ends before the answer, which a second stream brings."""
        trace, parent = self.traced()
        headers, message = self.request("tools/call", {"name": "resumed", "arguments": {"count": 1}}, session)
        saw = CUT
        try:
            await link.send("POST", headers | parent, json.dumps(message).encode())
            status, answered = await link.head()
            primed = await read_body(link.reader, answered)
            found = re.search(rb"id: (\w+)", primed)
            if found is None:
                saw = self.judge(status, primed, message["id"])
                return "session gone" if status == 404 else None
            del headers["content-type"]
            await link.send("GET", headers | {"accept": "text/event-stream", "last-event-id": found[1].decode()})
            status, answered = await link.head()
            data, _ = await self.last_event(link, answered)
            saw = self.judge(status, data, message["id"])
            return "session gone" if status == 404 else None
        finally:
            self.calls[trace] = (ALLOW, saw)
            self.saw[f"{ALLOW}: {saw}"] += 1


def text():
    return "x" * random.choice([10, 100, 1000])


MIX = {
    Load.plain: 30, Load.stateless: 20, Load.durable: 5, Load.paying: 6, Load.streamed: 8,
    Load.streamed_stateless: 4, Load.denied: 6, Load.held: 2, Load.unfit: 2, Load.unknown: 1,
    Load.lists: 1, Load.malformed: 6, Load.hang_up_within_request: 3,
    Load.hang_up_before_answer: 3, Load.hang_up_within_stream: 2, Load.resumes: 1,
}
ACTIONS, WEIGHTS = list(MIX), list(MIX.values())


# The gate.


class Gate:
    """The binary under test, its files, and what is sampled of it."""

    def __init__(self, binary, out, upstream):
        self.binary, self.out = binary, out
        self.port, self.operator = free_port(), free_port()
        self.samples = []
        self.reloads = collections.Counter()
        self.process = None
        for folder in ("policies", "tools"):
            (out / folder).mkdir()
        (out / "countersign.yaml").write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"operator: {{listen: 127.0.0.1:{self.operator}}}\n"
            "environment: soak\nstate: ./state\npolicies: [./policies]\ntools: [./tools]\n"
            "agents: [{id: soak, anonymous: true}]\n"
            f"servers: {{soak: {{mcp: http://127.0.0.1:{upstream}/mcp}}}}\n"
            "limits: {session_idle: 1m}\nlog: {format: json, level: warn}\n"
            # A machine that is busy with other things is no fault of the gate.
            "policy: {deadline: 2s}\n"
        )
        tiers = "".join(f"  {name}: {{tier: {tier}}}\n" for name, (_, tier) in TOOLS.items())
        (out / "tools/soak.yaml").write_text(f"server: soak\ntools:\n{tiers}")
        (out / "policies/reversibility.rego").write_text(REVERSIBILITY)
        self.put("policies/permission.rego", PERMISSION)
        self.generation = 0
        self.put_data()

    def put(self, name, content):
        """Whole or not at all, as careful tools do."""
        new = self.out / "new"
        new.write_text(content)
        new.rename(self.out / name)

    def put_data(self):
        data = {"soak": {"allowed": ALLOWED, "limit": 100, "generation": self.generation}}
        self.put("policies/data.json", json.dumps(data))

    async def start(self):
        with (self.out / "gate.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary, "run", "--config", self.out / "countersign.yaml", stdout=log, stderr=log
            )
        async with asyncio.timeout(30):
            while await self.probe("/readyz") is None:
                if self.process.returncode is not None:
                    sys.exit(f"soak: the gate did not start:\n{(self.out / 'gate.log').read_text()}")
                await asyncio.sleep(0.1)

    async def probe(self, path):
        """The operator's answer to a GET, if it is a good one."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.operator)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            first, headers = await read_head(reader)
            body = await read_body(reader, headers)
            writer.transport.abort()
            return body.decode() if " 200 " in first + " " else None
        except (Broken, ConnectionError):
            return None

    async def gauge(self, name):
        metrics = await self.probe("/metrics") or ""
        found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
        return float(found[1]) if found else None

    def resident_kb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "RssAnon", "RssFile")]

    async def sampling(self):
        with (self.out / "memory.csv").open("w") as file:
            file.write("seconds,resident_kb,anonymous_kb,file_kb\n")
            begin = time.monotonic()
            while True:
                resident, *parts = self.resident_kb()
                self.samples.append(resident)
                print(f"{time.monotonic() - begin:.0f}", resident, *parts, sep=",", file=file)
                await asyncio.to_thread(file.flush)
                await asyncio.sleep(SAMPLE_S)

    async def reloading(self):
        for turn in range(1, 1_000_000):
            await asyncio.sleep(RELOAD_S)
            if turn % 4:
                self.generation += 1
                self.reloads["good"] += 1
                # A rename may wait for the disk.
                await asyncio.to_thread(self.put_data)
                continue
            self.reloads["broken"] += 1
            await asyncio.to_thread(self.put, "policies/permission.rego", PERMISSION + "\nallow if {\n")
            try:
                await asyncio.sleep(BROKEN_S)
            finally:
                # Also when the time is up meanwhile; but the gate has to have seen it.
                await asyncio.sleep(1)
                await asyncio.to_thread(self.put, "policies/permission.rego", PERMISSION)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        try:
            code = await asyncio.wait_for(self.process.wait(), DRAIN_S)
        except TimeoutError:
            self.process.kill()
            return violation("the gate did not stop", f"within {DRAIN_S} s")
        if code != 0:
            violation("the gate ended badly", f"exit code {code}")
        return time.monotonic() - begin


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


# What has to agree.


class Record:
    """What `countersign audit tail` gives, brought together by call."""

    def __init__(self, gate):
        self.effects = {}  # call's id: effect
        self.outcomes = collections.Counter()  # call's id: how many
        self.endings = collections.Counter()
        self.by_trace = {}  # trace id: (effect, code)
        self.kinds = collections.Counter()
        command = [gate.binary, "audit", "tail", "--json", "-n", "100000000", "--state", gate.out / "state"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as audit:
            for line in audit.stdout:
                self.take(json.loads(line))
        if audit.returncode != 0:
            violation("the record cannot be read whole", f"audit exits with {audit.returncode}")

    def take(self, entry):
        kind = entry["kind"]
        self.kinds[kind] += 1
        if kind == "policy":
            self.kinds["policy: refused" if "problem" in entry else "policy: changed"] += 1
        if kind not in ("intent", "outcome"):
            return
        call = int(entry["id"].replace("-", ""), 16)
        if kind == "outcome":
            self.outcomes[call] += 1
            self.endings[entry["outcome"]] += 1
            if call not in self.effects:
                violation("an outcome comes before its intent", entry["id"])
            return
        if call in self.effects:
            violation("a call is on record twice", entry["id"])
        self.effects[call] = entry["effect"]
        trace = entry.get("trace_id")
        if trace is not None:
            if trace in self.by_trace:
                violation("a call was decided twice", trace)
            self.by_trace[trace] = (entry["effect"], entry["code"])


def compare(record, load, upstream, gate):
    """Holds record, clients and server to each other."""
    for call, effect in record.effects.items():
        wanted = 1 if effect == "allow" else 0
        if record.outcomes[call] != wanted:
            violation("a call has not the outcomes it should", f"{call:032x}: {effect}, {record.outcomes[call]}")
    for trace, times in upstream.executed.items():
        if times != 1:
            violation("the server ran a call twice", trace)
        if record.by_trace.get(trace, NOT_THERE)[0] != "allow":
            violation("the server ran a call that the record does not allow", trace)
    for trace, (expect, saw) in load.calls.items():
        effect, code = record.by_trace.get(trace, NOT_THERE)
        if expect == REFUSE and effect == "allow":
            violation("the record allows what is not allowed", trace)
        given_up = saw == GONE and code == "cancelled"
        if expect == ALLOW and effect not in ("allow", None) and not given_up:
            violation("the record refuses what is allowed", trace)
        if saw == RESULT and not upstream.executed[trace]:
            violation("a client has a result that the server never gave", trace)
        if saw in (RESULT, REFUSED) and effect is None:
            violation("a call that was answered is not on record", trace)
    for decision in load.decisions - record.effects.keys():
        violation("a decision that a client was told of is not on record", f"{decision:032x}")
    allowed = sum(effect == "allow" for effect in record.effects.values())
    if upstream.executed.total() > allowed:
        violation("the server ran more calls than were allowed", f"{upstream.executed.total()} > {allowed}")
    for kind, entry in (("good", "policy: changed"), ("broken", "policy: refused")):
        if gate.reloads[kind] != record.kinds[entry]:
            violation("changes of policy are not all on record", f"{gate.reloads[kind]} {kind}, {record.kinds[entry]} {entry}")
    if record.kinds["start"] != 1 or record.kinds["stop"] != 1:
        violation("start or stop is not on record", dict(record.kinds))
    return allowed


def check_memory(samples):
    """The last third stays below where the second third began, 15 % and 3 MB added."""
    third = len(samples) // 3
    start, highest = samples[third], max(samples[2 * third :])
    if len(samples) < ENOUGH_SAMPLES:
        return f"{start} kB, then at most {highest} kB; not judged, as it still warms up"
    bound = start * 1.15 + 3 * 1024
    if highest > bound:
        violation("memory grows", f"{highest} kB in the last third, {start} kB when the second began")
    return f"{start} kB, then at most {highest} kB (bound {bound:.0f} kB), peak {max(samples)} kB"


def check_log(path):
    """No panic, and what else the gate complained of."""
    said = collections.Counter()
    for line in path.read_text(errors="replace").splitlines():
        if "panicked" in line or "a call's task failed" in line:
            violation("the gate panicked", line)
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            message = entry.get("message") or entry.get("fields", {}).get("message") or ""
            said[f"{entry.get('level')} {message[:70]}"] += 1
    return said


async def restarting(upstream):
    while True:
        await asyncio.sleep(RESTART_S / 2)
        await upstream.stop()
        await asyncio.sleep(DOWN_S)
        await upstream.start()
        await asyncio.sleep(RESTART_S / 2 - DOWN_S)


async def settle(gate):
    """With nobody there, nothing may be open."""
    for name in ("countersign_calls_in_flight", "countersign_streams_open"):
        for _ in range(100):
            value = await gate.gauge(name)
            if value == 0:
                break
            await asyncio.sleep(0.1)
        else:
            violation("something stays open", f"{name} {value}, 10 s after the last client left")


async def soak(arguments, out):
    upstream = Upstream()
    await upstream.start()
    gate = Gate(arguments.binary.resolve(), out, upstream.port)
    await gate.start()
    load = Load(gate.port, arguments.rate)
    began = time.monotonic()
    clients = [load.worker(number) for number in range(WORKERS)] + [load.listener() for _ in range(LISTENERS)]
    clients = [asyncio.create_task(client) for client in clients]
    around = [gate.sampling(), gate.reloading(), restarting(upstream), stalls.watch()]
    around = [asyncio.create_task(task) for task in around]
    alive = asyncio.create_task(gate.process.wait())
    done, _ = await asyncio.wait([*clients, *around, alive], timeout=arguments.minutes * 60, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        # None of them ends by itself: a bug of this script, or the gate's end.
        if task is alive:
            sys.exit(f"soak: the gate ended by itself:\n{(out / 'gate.log').read_text()[-4000:]}")
        task.result()
    load.stopping = True
    for task in around:
        task.cancel()
    await asyncio.gather(*around, return_exceptions=True)
    await asyncio.gather(*clients)
    seconds = time.monotonic() - began
    if upstream.server is None or not upstream.server.is_serving():
        await upstream.start()
    await settle(gate)
    # The last change of policy is seen by now.
    await asyncio.sleep(1)
    cpu = sum(map(int, pathlib.Path(f"/proc/{gate.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    gate.samples.append(gate.resident_kb()[0])
    stopped = await gate.stop()
    await upstream.stop()
    record = Record(gate)
    allowed = compare(record, load, upstream, gate)
    memory = check_memory(gate.samples)
    said = check_log(out / "gate.log")
    report = [
        ("time", f"{seconds:.0f} s, {sum(load.sent.values()) / seconds:.0f} requests/s, gate {100 * cpu / os.sysconf('SC_CLK_TCK') / seconds:.0f} % of a core"),
        ("sent", table(load.sent)),
        ("calls, as clients saw them", table(load.saw)),
        ("on record", f"{table(record.kinds)}, allowed {allowed}"),
        ("outcomes", table(record.endings)),
        ("ran by the server", upstream.executed.total()),
        ("policy files changed", table(gate.reloads)),
        ("memory of the gate", memory),
        ("this script stood still", f"{stalls.longest:.1f} s at most"),
        ("stopped within", f"{stopped:.2f} s" if stopped is not None else "never"),
        ("the gate's log", table(said) or "nothing"),
        ("violations", table(violation) or "none"),
    ]
    text = "".join(f"{name:<28}{value}\n" for name, value in report)
    (out / "summary.txt").write_text(text)
    print(text, end="")
    return not violation


def table(counter):
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="made anew; must not exist, or be empty")
    parser.add_argument("--rate", type=float, default=250, help="requests each second, of all clients")
    parser.add_argument("--seed", type=int, help="of the mix, to run the same again")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    if out.is_dir() and any(out.iterdir()):
        sys.exit(f"soak: `{out}` is not empty")
    if shutil.disk_usage(out.parent if not out.exists() else out).free < 5 << 30:
        sys.exit("soak: less than 5 GiB free for the record")
    out.mkdir(parents=True, exist_ok=True)
    random.seed(arguments.seed)
    sys.exit(0 if asyncio.run(soak(arguments, out)) else 1)


if __name__ == "__main__":
    main()
