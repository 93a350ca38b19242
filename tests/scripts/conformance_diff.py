#!/usr/bin/env python3
"""Do two servers conform alike?

    conformance_diff.py DIRECT.json GATED.json

Prints each check that came out differently and exits 1 if there is one.
"""

import json
import pathlib
import sys


def flat(table):
    """{(run, scenario, check): {status: how often}}"""
    return {
        (run, scenario, check): statuses
        for run, scenarios in table.items()
        for scenario, checks in scenarios.items()
        for check, statuses in (checks or {"(no checks)": {}}).items()
    }


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: conformance_diff.py A.json B.json")
    first, second = (flat(json.loads(pathlib.Path(name).read_text())) for name in sys.argv[1:])
    if not first:
        sys.exit("conformance_diff: the first run has no checks")
    differences = 0
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            differences += 1
            print(" ".join(key), ":", first.get(key, "absent"), "->", second.get(key, "absent"))
    print(f"{len(first)} checks compared, {differences} differ")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
