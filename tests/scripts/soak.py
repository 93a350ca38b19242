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
import os
import pathlib
import random
import shutil
import sys
import time

from soaking.agree import Record, check_log, check_memory, compare
from soaking.clients import LISTENERS, WORKERS, Load
from soaking.gate import Gate
from soaking.server import Upstream
from soaking.words import stalls, violation

RESTART_S, DOWN_S = 60, 2


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
