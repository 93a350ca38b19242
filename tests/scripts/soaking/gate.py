"""The gate under test: its files, its life, and what is sampled of it."""

import asyncio
import collections
import json
import pathlib
import re
import signal
import socket
import sys
import time

from .wire import Broken, read_body, read_head
from .words import ALLOWED, TOOLS, violation

RELOAD_S, BROKEN_S, SAMPLE_S, DRAIN_S = 10, 3, 10, 30
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


class Gate:
    """The binary under test, its files, and what is sampled of it."""

    # Where nobody signs, a held call gets its ticket at once.
    def __init__(self, binary, out, upstream, hold="hold: {wait: 10ms, rounds: 1}\n"):
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
            f"{hold}"
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
