"""Who calls, with what, and what do they see?"""

import asyncio
import collections
import contextlib
import json
import random
import re
import time

from .wire import Broken, pieces, read_body, read_head
from .words import ALLOW, ALLOWED, CUT, FAILED, GONE, META, PATIENCE_S, REFUSE, REFUSED, RESULT, STATEFUL, STATELESS
from .words import stalls, violation

WORKERS, LISTENERS = 24, 6
# What a refusal may say while the server is away; anything else is a decision.
FAILURES = {"upstream_unreachable", "outcome_unknown", "invalid_answer"}


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
