"""What stands behind the gate?"""

import asyncio
import collections
import json
import random

from .wire import Broken, read_body, read_head, trace_of
from .words import STATELESS, TOOLS


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
