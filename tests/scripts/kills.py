#!/usr/bin/env python3
"""Killed at any moment, under load: does the record keep its promises?

    kills.py --binary PATH --out DIR [--rounds 1000] [--seed N]

Starts an MCP server of its own and the gate in front of it, sends calls of each
tier from many connections, kills the gate with SIGKILL after a random time,
starts it again on the same state, and so on. Each call carries a trace id that
nobody else has, in a header and in its arguments. After each 25 rounds, whose
record is then put away (a start verifies it, which takes an unoptimised gate
longer and longer):

    O1  what the server ran, the record had allowed before
    O2  each call has one decision on record, and so has each that was answered
    O3  what ran under a trace id is what was sent under it

`countersign audit tail` verifies the chain as it reads. That a kill leaves the
page cache alone is in the nature of a kill: power cuts are another matter.
Stops and exits 1 if anything does not agree, and leaves the log and the record in DIR.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import sys
import time

from soaking.agree import Record
from soaking.gate import Gate
from soaking.server import Upstream
from soaking.wire import Broken, read_body, read_head, trace_of
from soaking.words import META, STATELESS, violation

CLIENTS = 12
# Of a round, whichever comes first: so many answers, or so long.
ANSWERS, LONGEST_S = 150, 3
# So many rounds share a record.
SHARED = 25
TOOLS = ("echo", "note", "forbidden", "wipe")


class Echoing(Upstream):
    """Also keeps what came under which trace id (O3)."""

    def __init__(self):
        super().__init__()
        self.arguments = []
        self.trace = ""

    async def call(self, message, stateless, writer):
        params = message["params"]
        self.arguments.append((self.trace, params["name"], params["arguments"]))
        await super().call(message, stateless, writer)

    async def answer(self, method, headers, body, writer):
        # Nothing is awaited from here to `call`.
        self.trace = trace_of(headers)
        await super().answer(method, headers, body, writer)


class Clients:
    """Calls tools until nobody answers, and keeps what was sent and answered."""

    def __init__(self, port):
        self.port = port
        self.sent = {}  # trace id: (tool, arguments)
        self.answered = {}  # trace id: whether it ran, as its client was told

    async def call_on(self):
        with contextlib.suppress(Broken, ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                while True:
                    await self.call(reader, writer)
            finally:
                writer.transport.abort()

    async def call(self, reader, writer):
        trace, tool = f"{random.getrandbits(128) | 1:032x}", random.choice(TOOLS)
        arguments = {"text": trace + "é\n" * random.randrange(3)}
        self.sent[trace] = (tool, arguments)
        meta = {META + "protocolVersion": STATELESS, META + "clientCapabilities": {}}
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        head = (
            f"POST /mcp/soak HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
            f"mcp-protocol-version: {STATELESS}\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n"
            f"traceparent: 00-{trace}-{random.getrandbits(64) | 1:016x}-00\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        _, headers = await read_head(reader)
        answer = json.loads(await read_body(reader, headers))
        self.answered[trace] = not answer["result"].get("isError", False)


def compare(record, clients, upstream):
    for call, effect in record.effects.items():
        if record.outcomes[call] > (effect == "allow"):
            violation("a call has more outcomes than it should", f"{call:032x}")
    for trace, times in upstream.executed.items():
        if times != 1:
            violation("O1: the server ran a call twice", trace)
        if record.by_trace.get(trace, (None,))[0] != "allow":
            violation("O1: the server ran a call that the record does not allow", trace)
    for trace, ran in clients.answered.items():
        if trace not in record.by_trace:
            violation("O2: a call that was answered is not on record", trace)
        if ran and not upstream.executed[trace]:
            violation("a client has a result that the server never gave", trace)
    for trace in record.by_trace.keys() - clients.sent.keys():
        violation("O2: a decision on a call that nobody made", trace)
    for trace, tool, arguments in upstream.arguments:
        if clients.sent.get(trace) != (tool, arguments):
            violation("O3: the server ran something else than was sent", trace)


class Totals(collections.Counter):
    """What all records had, together."""

    def add(self, record, clients, upstream):
        self["calls"] += len(clients.sent)
        self["cut off"] += len(clients.sent) - len(clients.answered)
        self["ran"] += upstream.executed.total()
        self["intents"] += record.kinds["intent"]
        self["outcomes"] += record.kinds["outcome"]
        allowed = sum(effect == "allow" for effect in record.effects.values())
        self["allowed without an outcome"] += allowed - record.outcomes.total()


async def a_moment(clients):
    """Some way into a round, on a busy machine as on a quiet one."""
    enough = len(clients.answered) + random.randrange(ANSWERS)
    until = time.monotonic() + random.random() * LONGEST_S
    while len(clients.answered) < enough and time.monotonic() < until:
        await asyncio.sleep(0.002)
    await asyncio.sleep(random.random() * 0.01)


async def shared_record(gate, upstream, rounds, totals):
    """So many kills on one record, which is then held to what was sent, ran and was answered."""
    clients = Clients(gate.port)
    upstream.arguments.clear()
    upstream.executed.clear()
    for _ in range(rounds):
        await gate.start()
        working = [asyncio.create_task(clients.call_on()) for _ in range(CLIENTS)]
        await a_moment(clients)
        gate.process.kill()
        await gate.process.wait()
        await asyncio.gather(*working)
        if "panicked" in (gate.out / "gate.log").read_text(errors="replace"):
            violation("the gate panicked", "see gate.log")
    # What the gate had sent before it was killed may be on its way.
    await asyncio.sleep(0.2)
    record = Record(gate)
    compare(record, clients, upstream)
    if record.kinds["start"] != rounds:
        violation("starts are not all on record", f"{record.kinds['start']} of {rounds}")
    totals.add(record, clients, upstream)


async def kills(arguments, out):
    upstream = Echoing()
    await upstream.start()
    gate = Gate(arguments.binary.resolve(), out, upstream.port)
    began, totals = time.monotonic(), Totals()
    try:
        for done in range(0, arguments.rounds, SHARED):
            rounds = min(SHARED, arguments.rounds - done)
            await shared_record(gate, upstream, rounds, totals)
            seconds = time.monotonic() - began
            print(f"{done + rounds} kills in {seconds:.0f} s: {table(totals)}; violations: {table(violation) or 'none'}", flush=True)
            if violation:
                break
            shutil.rmtree(out / "state")
    finally:
        with contextlib.suppress(ProcessLookupError):
            gate.process.kill()
    await upstream.stop()
    return not violation


def table(counter):
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="made anew; must not exist, or be empty")
    parser.add_argument("--seed", type=int, help="of the moments and calls, to run alike again")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    if out.is_dir() and any(os.scandir(out)):
        sys.exit(f"kills: `{out}` is not empty")
    out.mkdir(parents=True, exist_ok=True)
    random.seed(arguments.seed)
    sys.exit(0 if asyncio.run(kills(arguments, out)) else 1)


if __name__ == "__main__":
    main()
