#!/usr/bin/env python3
"""What do 10,000 open holds cost?

    holds.py BINARY [--holds 10000] [--rounds 5]

Starts an MCP server and the gate in front of it, measures calls that nothing holds,
fills the desk, and measures: the queue page (signed in), the API's list, one hold, and
the same calls again, in turns with a second gate that holds nothing, so that a busy
minute of the machine hits both alike. Standard library only.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

CONFIG = """
listen: 127.0.0.1:{agents}
operator: {{listen: 127.0.0.1:{operators}}}
state: ./state
policies: [./policies]
tools: [./tools]
agents: [{{id: demo, anonymous: true}}]
reviewers: [{{id: ann, token: {{file: ./ann.token}}}}]
hold: {{wait: 1ms, expires_in: 1h, open: 1000000, open_per_agent: 1000000}}
log: {{level: warn}}
servers: {{demo: {{mcp: "http://127.0.0.1:{upstream}/mcp"}}}}
"""
FILES = {
    "policies/permission.rego": "package countersign.permission\n\nallow := true\n\nvisible := true\n",
    "policies/reversibility.rego": 'package countersign.reversibility\n\nhold contains {"code": "big", "message": '
    '"refunds need a signature"} if input.call.tool == "refund"\n',
    "tools/demo.yaml": 'server: demo\ntools:\n  "*": {tier: low}\n',
    "ann.token": "r3v13w-of-ann-88aa41c7f0",
}
UPSTREAM, FULL, EMPTY = 28802, 28810, 28820
CALLS, CLIENTS = 2000, 16
LONGEST_S = 60


class Connection:
    """HTTP/1.1 to one of the gate's listeners."""

    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()

    async def ask(self, method, path, body=b"", headers=""):
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        return int(head.split(" ")[1]), fields, await self.reader.readexactly(int(fields.get("content-length", 0)))

    async def call(self, tool, arguments):
        params = {"name": tool, "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = "content-type: application/json\r\naccept: application/json\r\n"
        status, _, answer = await self.ask("POST", "/mcp/demo", body, headers)
        assert status == 200, answer
        return json.loads(answer)["result"]


class Gate:
    """One gate, with files of its own."""

    def __init__(self, binary, work, port):
        self.agents, self.operators, self.work = port, port + 1, work
        for name, text in FILES.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        (work / "countersign.yaml").write_text(CONFIG.format(agents=port, operators=port + 1, upstream=UPSTREAM))
        self.command = [pathlib.Path(binary).resolve(), "run", "--config", work / "countersign.yaml"]

    async def start(self):
        self.process = subprocess.Popen(self.command, cwd=self.work)
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError):
                async with Connection(self.operators) as connection:
                    if (await connection.ask("GET", "/readyz"))[0] == 200:
                        return time.monotonic() - began
            if time.monotonic() - began > LONGEST_S or self.process.poll() is not None:
                raise RuntimeError("the gate did not get ready")
            await asyncio.sleep(0.005)

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    async def each(self, count, one):
        """Does something `count` times, over a few connections; calls a second."""
        async def some(first):
            async with Connection(self.agents) as connection:
                for number in range(first, count, CLIENTS):
                    await one(connection, number)

        began = time.perf_counter()
        await asyncio.gather(*(some(first) for first in range(CLIENTS)))
        return count / (time.perf_counter() - began)

    async def calls(self):
        return await self.each(CALLS, lambda connection, number: connection.call("echo", {"text": f"call {number}"}))

    async def hold(self, count):
        async def one(connection, number):
            result = await connection.call("refund", {"order": str(number), "text": "x" * 200})
            assert result["_meta"]["io.countersign/hold"]["state"] == "pending", result

        return await self.each(count, one)

    async def median_ms(self, path, times=21):
        async with Connection(self.operators) as connection:
            headers = "content-type: application/x-www-form-urlencoded\r\n"
            _, fields, _ = await connection.ask("POST", "/sign-in", f"token={FILES['ann.token']}".encode(), headers)
            mine = f"cookie: {fields['set-cookie'].split(';')[0]}\r\nauthorization: Bearer {FILES['ann.token']}\r\n"
            took = []
            for _ in range(times):
                began = time.perf_counter()
                status, _, body = await connection.ask("GET", path, headers=mine)
                took.append((time.perf_counter() - began) * 1000)
                assert status == 200, body
        return statistics.median(took), max(took), body


async def serve(reader, writer):
    """Two tools, which say nothing."""
    schema = {"type": "object", "properties": {"order": {"type": "string"}, "text": {"type": "string"}}}
    tools = [{"name": name, "inputSchema": schema} for name in ("echo", "refund")]
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            break
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        message = json.loads(await reader.readexactly(length) or b"{}")
        result = {"tools": tools} if message.get("method") == "tools/list" else {"content": []}
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    writer.close()


async def measure(arguments, full, empty):
    await asyncio.gather(full.start(), empty.start())
    before = full.resident_mb()
    rate = await full.hold(arguments.holds)
    async with Connection(full.operators) as connection:
        headers = f"authorization: Bearer {FILES['ann.token']}\r\n"
        page = json.loads((await connection.ask("GET", "/api/v1/holds?state=pending&limit=1", headers=headers))[2])
    assert page["total"] == arguments.holds, page["total"]
    one = page["holds"][0]["id"]
    print(f"{arguments.holds} holds, {rate:.0f} made a second; {before:.0f} MB resident before, {full.resident_mb():.0f} MB after")
    for name, path in [
        ("the queue page", "/"),
        ("its last page", f"/?skip={arguments.holds - 50}"),
        ("a search in it", "/?q=refund"),
        ("a search that finds none", "/?q=nothing+like+it"),
        ("one hold's page", f"/holds/{one}"),
        ("the API's list of 100", "/api/v1/holds?state=pending"),
        ("the API's list of 500", "/api/v1/holds?state=pending&limit=500"),
        ("one hold by the API", f"/api/v1/holds/{one}"),
    ]:
        median, longest, _ = await full.median_ms(path)
        print(f"{name}: {median:.1f} ms, at most {longest:.1f} ms")
    ratios = []
    for _ in range(arguments.rounds):
        without = await empty.calls()
        ratios.append(await full.calls() / without)
        print(f"calls that nothing holds: {without:.0f} a second without holds, {ratios[-1]:.2f} times as many with them")
    print(f"median ratio {statistics.median(ratios):.2f}")
    full.process.kill()
    full.process.wait()
    print(f"ready again after {await full.start():.2f} s")


async def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("binary")
    arguments.add_argument("--holds", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    async with await asyncio.start_server(serve, "127.0.0.1", UPSTREAM):
        with tempfile.TemporaryDirectory() as work:
            full = Gate(arguments.binary, pathlib.Path(work, "full"), FULL)
            empty = Gate(arguments.binary, pathlib.Path(work, "empty"), EMPTY)
            try:
                await measure(arguments, full, empty)
            finally:
                for gate in (full, empty):
                    gate.process.kill()


asyncio.run(main())
