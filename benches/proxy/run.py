#!/usr/bin/env python3
"""What does the gate cost, beside the least and beside its peers?

Starts one upstream, and before it, one after the other and all on loopback:
nothing (direct), a bare hyper proxy that only buffers and parses JSON (the
floor), nginx, Envoy, and Countersign with schema, policy and record, without
and with fsync. Loads each with wrk; no two calls are alike. Prints a table
with ratios to the floor and writes benches/RESULTS.md.

    run.py                             all, three rounds of 4 s: about 6 minutes
    run.py --subjects direct,floor     some
    run.py --bin DIR                   binaries from DIR instead of building them
    run.py --rounds 1 --seconds 2 --no-results

Needs wrk and nginx (Debian), and Envoy from PyPI: tests/scripts/setup.sh
system tools. Rounds are interleaved, so that a busy minute of the machine
hits all alike; the median round counts. Times come from whatever machine this
is: trust the ratios.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLIENTS = pathlib.Path(os.environ.get("COUNTERSIGN_CLIENTS", ROOT / "target" / "clients"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOKEN = "benchmark-token-that-is-long-enough-to-be-accepted"
SUBJECTS = ["direct", "floor", "nginx", "envoy", "countersign", "countersign-fsync"]
TITLES = {
    "direct": "direct (no proxy)",
    "floor": "floor: bare hyper, buffers and parses",
    "nginx": "nginx",
    "envoy": "Envoy",
    "countersign": "Countersign: schema, policy, record",
    "countersign-fsync": "Countersign: the same, fsync for each intent",
}
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 5
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program that is stopped again, with all that it started."""

    def __init__(self, command, work, name, env=None):
        self.log = open(work / f"{name}.log", "wb")
        self.name = name
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=work,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    def pids(self):
        """The process and its descendants."""
        found, parents = [self.child.pid], {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        for pid in found:
            found.extend(parents.get(pid, []))
        return found

    def cpu_s(self):
        """CPU time so far, user and system, in seconds."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def rss_mb(self):
        """Resident memory, in MB."""
        kb = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        kb += int(line.split()[1])
        return kb / 1024

    def wait_for(self, port):
        """Waits until the port answers; fails with the log if it never does."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                return
            time.sleep(0.05)
        self.log.flush()
        tail = pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]
        sys.exit(f"bench: {self.name} does not listen on {port}\n{tail}")

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, 15)
        try:
            self.child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, 9)
            self.child.wait()
        self.log.close()


def nginx(work, port, upstream):
    config = work / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes auto; pid {work}/nginx.pid; error_log {work}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 4m; client_body_buffer_size 64k;
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}"""
    )
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-p", work]


def envoy(work, port, upstream):
    address = lambda number: {"socket_address": {"address": "127.0.0.1", "port_value": number}}
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": address(upstream)}}
    limits = {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]}
    config = {
        "static_resources": {
            "listeners": [{"name": "in", "address": address(port), "filter_chains": [{"filters": filters}]}],
            "clusters": [
                {
                    "name": "up",
                    "type": "STATIC",
                    "connect_timeout": "2s",
                    "circuit_breakers": limits,
                    "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    file = work / "envoy.json"
    file.write_text(json.dumps(config))
    binary = shutil.which("envoy") or next(CLIENTS.glob("tools/lib/python*/site-packages/envoy*/**/envoy"), None)
    if not binary:
        sys.exit("bench: no Envoy; run tests/scripts/setup.sh tools")
    return [binary, "-c", file, "--concurrency", os.cpu_count(), "--log-level", "warn", "--disable-hot-restart"]


def countersign(work, port, upstream, binary, fsync):
    file = work / f"countersign-{port}.yaml"
    text = (HERE / "countersign.yaml").read_text()
    values = {"PORT": port, "OPERATOR": free_port(), "STATE": work / f"state-{port}", "ROOT": ROOT,
              "UPSTREAM": upstream, "FSYNC": str(fsync).lower()}
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    file.write_text(text)
    return [binary, "run", "--config", file]


class Bench:
    """The upstream, the subjects before it, and the load."""

    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.binaries = self.build()
        self.upstream = free_port()

    def build(self):
        names = {"bench-upstream": "examples", "bench-floor": "examples", "countersign": ""}
        if self.arguments.bin:
            return {name: self.arguments.bin / name for name in names}
        command = ["cargo", "build", "--release", "--locked", "--example", "bench-upstream", "--example", "bench-floor"]
        if any(subject.startswith("countersign") for subject in self.arguments.subjects):
            command += ["--bin", "countersign"]
        subprocess.run(command, cwd=ROOT, check=True)
        return {name: TARGET / "release" / folder / name for name, folder in names.items()}

    def command(self, subject, port):
        upstream = self.upstream
        if subject == "floor":
            return [self.binaries["bench-floor"], f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"]
        if subject in ("nginx", "envoy"):
            return globals()[subject](self.work, port, upstream)
        return countersign(self.work, port, upstream, self.binaries["countersign"], subject.endswith("fsync"))

    def check(self, port, path, subject):
        """One call, before any load: the benchmark must not measure refusals."""
        arguments = {"order": "o-1234567890", "customer": "c", "limit": 5}
        call = {"jsonrpc": "2.0", "id": "check", "method": "tools/call",
                "params": {"name": "lookup_order", "arguments": arguments}}
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                       "Authorization": f"Bearer {TOKEN}", "MCP-Protocol-Version": "2025-11-25"}
            connection.request("POST", path, json.dumps(call), headers)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
            connection.close()
            if response.status == 200 and "order found" in body and '"isError":true' not in body:
                return
            if time.monotonic() > deadline or response.status not in (502, 503):
                sys.exit(f"bench: {subject} does not pass a call on: {response.status} {body[:500]}")
            time.sleep(0.1)

    def load(self, port, path, connections, seconds):
        """Runs wrk once: calls, seconds, p50 and p99 in microseconds."""
        command = ["wrk", "-t", str(min(2, connections)), "-c", str(connections), "-d", f"{seconds}s", "--latency",
                   "-s", HERE / "call.lua", f"http://127.0.0.1:{port}"]
        env = {**os.environ, "BENCH_PATH": path, "BENCH_TOKEN": TOKEN}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=seconds + 30, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        sys.exit(f"bench: wrk says nothing\n{done.stdout}{done.stderr}")

    def one(self, subject, server, connections):
        """One subject under one load."""
        process, port = server, self.upstream
        path = "/mcp/bench" if subject.startswith("countersign") else "/mcp"
        if subject != "direct":
            port = free_port()
            process = Process(self.command(subject, port), self.work, subject, {"BENCH_TOKEN": TOKEN})
        try:
            process.wait_for(port)
            self.check(port, path, subject)
            self.load(port, path, connections, 1)
            before = process.cpu_s()
            result = self.load(port, path, connections, self.arguments.seconds)
            result["cpu_us"] = (process.cpu_s() - before) * 1e6 / max(1, result["calls"])
            result["rss_mb"] = process.rss_mb()
        finally:
            if process is not server:
                process.stop()
        if result["bad"]:
            print(f"bench: {subject} at {connections}: {result['bad']} bad answers", file=sys.stderr)
        result["rate"] = result["calls"] / result["seconds"]
        return result

    def run(self):
        """{connections: {subject: the median round}}"""
        server = Process([self.binaries["bench-upstream"], f"127.0.0.1:{self.upstream}"], self.work, "upstream")
        rounds = {}
        try:
            server.wait_for(self.upstream)
            for number in range(self.arguments.rounds):
                for connections in self.arguments.connections:
                    for subject in self.arguments.subjects:
                        result = self.one(subject, server, connections)
                        rounds.setdefault(connections, {}).setdefault(subject, []).append(result)
                        print(f"round {number + 1}  {connections:4} connections  {subject:18} {result['rate']:9.0f}/s",
                              file=sys.stderr)
        finally:
            server.stop()
        return {
            connections: {subject: median(results) for subject, results in subjects.items()}
            for connections, subjects in rounds.items()
        }


def median(results):
    """The round with the median rate, as a whole, with the worst count of bad answers."""
    rate = statistics.median_low(result["rate"] for result in results)
    chosen = next(result for result in results if result["rate"] == rate)
    return {**chosen, "bad": max(result["bad"] for result in results)}


def table(results):
    """The figures as Markdown."""
    lines = []
    for connections, subjects in results.items():
        lines += [
            f"### {connections} connection{'s' if connections > 1 else ''}",
            "",
            "| | calls/s | × floor | p50 | p99 | CPU µs a call | RSS MB | bad |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        floor = subjects.get("floor", {}).get("rate")
        for subject, result in subjects.items():
            ratio = f"{result['rate'] / floor:.2f}" if floor else "–"
            lines.append(
                f"| {TITLES[subject]} | {result['rate']:,.0f} | {ratio} | {result['p50_us']:,} µs | {result['p99_us']:,} µs "
                f"| {result['cpu_us']:.1f} | {result['rss_mb']:.0f} | {result['bad']} |"
            )
        lines.append("")
    return "\n".join(lines)


def machine():
    """What this was measured on."""
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown CPU")
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} × {cpu}, {memory} GB, Linux {platform.release()}, {time.strftime('%Y-%m-%d', time.gmtime())}, "
        f"commit {commit.stdout.strip() or 'unknown'}; load average at the end {load}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    words = lambda text: text.split(",")
    parser.add_argument("--subjects", type=words, default=SUBJECTS)
    parser.add_argument("--connections", type=lambda text: [int(word) for word in text.split(",")], default=[1, 16, 64, 256])
    parser.add_argument("--seconds", type=int, default=4, help="length of a measured run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), help="where built binaries are")
    parser.add_argument("--no-results", action="store_true", help="print only, do not write benches/RESULTS.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.subjects) - set(SUBJECTS):
        sys.exit(f"bench: no subject {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    if not shutil.which("wrk"):
        sys.exit("bench: no wrk; run tests/scripts/setup.sh system")
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as work:
        results = Bench(arguments, pathlib.Path(work)).run()
    text = table(results)
    print(text)
    if not arguments.no_results:
        (ROOT / "benches" / "RESULTS.md").write_text(
            "# What does a call through the gate cost?\n\n"
            "Written by `benches/proxy/run.py`; each call has about 1 KB of arguments and differs from the last.\n"
            "The upstream, the load generator and the proxy share the machine: trust the ratios.\n\n"
            f"{machine()}\n\n{text}"
        )


if __name__ == "__main__":
    main()
