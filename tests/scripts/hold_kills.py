#!/usr/bin/env python3
"""Killed at any moment while calls are held, signed and sent: is each hold kept, and sent once?

    hold_kills.py --binary PATH --out DIR [--rounds 200] [--shared 25] [--seed N]

As kills.py, with clients of each kind (older, of 2026-07-28, with tasks) whose calls
need one signature or two, and reviewers who sign, deny and edit through the API.
Half of the rounds the gate sends what is signed, half of them its agent has to come
back. After each kill all that anybody was told of a hold has to be there still, in
that state or a later one, with those signatures. After each 25 rounds, whose state is
then put away:

    what the server ran was a hold's call, as it was last edited, and ran once
    the record had allowed it before, once, for that hold and by its hash
    so many different people as policy asks for had signed it, also on record
    whoever has a result has one that the server gave

Stops and exits 1 if anything does not agree, and leaves the log and the record in DIR.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import pathlib
import random
import shutil
import sys
import time

from holding import REVIEWERS, SIGNATURES, Api, Client, Held, Server, Told, signers
from kills import SHARED, Totals, table
from soaking.agree import Record
from soaking.words import violation

CLIENTS = {"older": 4, "stateless": 4, "tasks": 4}
LONGEST_S = 1.5
WAITS = ["{wait: 400ms, rounds: 3}", "{wait: 400ms, rounds: 3, on_approval: await_retry}"]


class HoldRecord(Record):
    """Also by hold: who had signed before it was let go."""

    def __init__(self, gate):
        self.claimed = {}  # hold: (hash, who had signed that)
        self.let_go = collections.defaultdict(list)  # hold: (hash, who had signed that)
        self.released = collections.Counter()
        super().__init__(gate)

    def take(self, entry):
        super().take(entry)
        hold = entry.get("hold")
        if entry["kind"] == "hold" and entry["what"] == "claimed":
            self.claimed[hold] = (entry["hash"], entry["note"].removeprefix("signed by ").split(", "))
        elif entry["kind"] == "hold" and entry["what"] == "not sent":
            self.released[hold] += 1
        elif entry["kind"] == "intent" and entry["effect"] == "allow" and hold:
            hash, people = self.claimed.pop(hold, (None, []))
            self.let_go[hold].append((entry["hash"], set(people) if hash == entry["hash"] else set()))


def compare(record, clients, upstream, holds):
    by_text = collections.defaultdict(list)
    for hold in holds.values():
        by_text[hold["arguments"]["text"]].append(hold)
    for hold, times in record.let_go.items():
        if len(times) > 1 + record.released[hold]:
            violation("a hold was let go twice", hold)
        if hold not in holds:
            violation("a hold that was let go is lost", hold)
    for text, times in upstream.executed.items():
        found = [hold for hold in by_text[text] if record.let_go[hold["id"]]]
        if not found:
            violation("the server ran a call that no hold on record let go", text)
        if times > len(found):
            violation("a hold's call ran twice", [hold["id"] for hold in found])
        for hold in found:
            sent(record, hold)
    for text in set().union(*(client.results for client in clients)):
        if not upstream.executed[text]:
            violation("a client has a result that the server never gave", text)


def sent(record, hold):
    needed = SIGNATURES[hold["tool"]]
    if len(signers(hold)) < needed:
        violation("a call ran without its signatures", hold["id"])
    if hold["state"] not in ("executing", "done", "unknown"):
        violation("a call ran and its hold does not say so", f"{hold['id']} is {hold['state']}")
    for hash, people in record.let_go[hold["id"]]:
        if hash != hold["hash"]:
            violation("something else ran than was signed", hold["id"])
        if len(people) < needed:
            violation("a call ran without its signatures on record", hold["id"])


async def checked(gate, told):
    """All holds, which have to be as they were told."""
    async with Api(gate, REVIEWERS[0], told) as api:
        holds = {}
        for listed in await api.every():
            holds[listed["id"]] = await api.whole(listed["id"])
    for hold in told.states:
        told.still(hold, holds.get(hold))
    for hold in holds.values():
        told.saw(hold)
    return holds


async def shared_record(gate, upstream, rounds, totals):
    told = Told()
    upstream.executed.clear()
    clients = [Client(gate, kind, told) for kind, count in CLIENTS.items() for _ in range(count)]
    for _ in range(rounds):
        await gate.start()
        await checked(gate, told)
        working = [asyncio.create_task(client.call_on()) for client in clients]
        working += [asyncio.create_task(Api(gate, who, told).review_on()) for who in REVIEWERS]
        await asyncio.sleep(random.random() * LONGEST_S)
        gate.process.kill()
        await gate.process.wait()
        await asyncio.gather(*working)
        if "panicked" in (gate.out / "gate.log").read_text(errors="replace"):
            violation("the gate panicked", "see gate.log")
    await gate.start()
    await asyncio.sleep(0.2)
    holds = await checked(gate, told)
    gate.process.kill()
    await gate.process.wait()
    await asyncio.sleep(0.2)
    record = HoldRecord(gate)
    compare(record, clients, upstream, holds)
    totals["holds"] += len(holds)
    totals["ran"] += upstream.executed.total()
    totals["results"] += sum(len(client.results) for client in clients)
    totals.update(collections.Counter(f"now {hold['state']}" for hold in holds.values()))


async def kills(arguments, out):
    upstream = Server()
    await upstream.start()
    gate = Held(arguments.binary.resolve(), out, upstream.port, WAITS[0])
    began, totals = time.monotonic(), Totals()
    try:
        for turn, done in enumerate(range(0, arguments.rounds, arguments.shared)):
            rounds = min(arguments.shared, arguments.rounds - done)
            gate.holds(WAITS[turn % 2])
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--shared", type=int, default=SHARED, help="so many rounds share a state")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="made anew; must not exist, or be empty")
    parser.add_argument("--seed", type=int, help="of the moments and calls, to run alike again")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    if out.is_dir() and any(os.scandir(out)):
        sys.exit(f"hold_kills: `{out}` is not empty")
    out.mkdir(parents=True, exist_ok=True)
    random.seed(arguments.seed)
    sys.exit(0 if asyncio.run(kills(arguments, out)) else 1)


if __name__ == "__main__":
    main()
