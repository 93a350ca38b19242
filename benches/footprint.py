#!/usr/bin/env python3
"""How soon is the gate ready, and what does it hold?

    footprint.py BINARY [--tools 200] [--streams 1000]

Starts an MCP server with many tools and the gate in front of it, and prints:
milliseconds from start to ready (the median of five starts), megabytes resident
when idle, and with many event streams open through it. Standard library only.
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
import urllib.request

CONFIG = """
listen: 127.0.0.1:{agents}
operator: {{listen: 127.0.0.1:{operators}}}
state: {work}/state
policies: [{root}/policies]
tools: [{root}/tools]
agents: [{{id: demo, anonymous: true}}]
log: {{level: warn}}
servers: {{demo: {{mcp: "http://127.0.0.1:{upstream}/mcp"}}}}
"""
ROOT = pathlib.Path(__file__).resolve().parents[1]
AGENTS, OPERATORS, UPSTREAM = 28700, 28701, 28702
LONGEST_S = 10


def tool(number):
    """One tool, of about a kilobyte."""
    properties = {
        f"field_{n}": {"type": "string", "description": f"what stands in field {n} of it", "maxLength": 200}
        for n in range(8)
    }
    return {
        "name": f"tool_{number}",
        "description": "does something with what it is given, and says what came of it",
        "inputSchema": {"type": "object", "properties": properties, "required": ["field_0"]},
    }


async def serve(reader, writer, tools):
    """Answers tools/list as JSON, and leaves each GET open as a stream."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"c\r\n: listening\n\r\n1\r\n\n\r\n")
            await writer.drain()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await reader.read()
            break
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        message = json.loads(await reader.readexactly(length))
        result = {"tools": tools} if message["method"] == "tools/list" else {}
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
    writer.close()


def resident_mb(process, kind="VmRSS"):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def ready():
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{OPERATORS}/readyz", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


async def start(binary, work):
    """The process, and after how many milliseconds it was ready."""
    config = work / "countersign.yaml"
    config.write_text(CONFIG.format(agents=AGENTS, operators=OPERATORS, upstream=UPSTREAM, work=work, root=ROOT))
    began = time.perf_counter()
    process = subprocess.Popen([binary, "run", "--config", config])
    while not await asyncio.to_thread(ready):
        if time.perf_counter() - began > LONGEST_S or process.poll() is not None:
            process.kill()
            raise SystemExit("the gate did not get ready")
        await asyncio.sleep(0.002)
    return process, (time.perf_counter() - began) * 1000


async def listen():
    reader, writer = await asyncio.open_connection("127.0.0.1", AGENTS)
    writer.write(b"GET /mcp/demo HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
    await writer.drain()
    await reader.readuntil(b"listening")
    return writer


async def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("binary")
    arguments.add_argument("--tools", type=int, default=200)
    arguments.add_argument("--streams", type=int, default=1000)
    arguments = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    tools = [tool(number) for number in range(arguments.tools)]
    server = await asyncio.start_server(lambda r, w: serve(r, w, tools), "127.0.0.1", UPSTREAM)
    async with server:
        with tempfile.TemporaryDirectory() as work:
            work, took = pathlib.Path(work), []
            for _ in range(5):
                process, milliseconds = await start(arguments.binary, work)
                took.append(milliseconds)
                process.terminate()
                process.wait(LONGEST_S)
            process, _ = await start(arguments.binary, work)
            await asyncio.sleep(2)
            idle, files = resident_mb(process), resident_mb(process, "RssFile")
            streams = [await listen() for _ in range(arguments.streams)]
            await asyncio.sleep(2)
            busy = resident_mb(process)
            for stream in streams:
                stream.close()
            process.terminate()
            print(f"ready after {statistics.median(took):.0f} ms with {len(tools)} tools")
            print(f"resident: {idle:.1f} MB idle ({files:.1f} of them the binary), {busy:.1f} MB with {len(streams)} open streams")
            server.close()


asyncio.run(main())
