"""Says how Python reads each JSON file of a directory: one line a file, typed and exact.

    python3 dump.py DIRECTORY

Integers (`i`) and floats (`d`) are told apart, as Python does and JSON does not.
"""

import json
import pathlib
import struct
import sys


def text(string):
    return "s" + ".".join(f"{ord(c):x}" for c in string)


def dump(value):
    if value is None:
        return "n"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, (int, float)):
        # `float` must lose nothing: an integer that it rounds is not the same number.
        assert float(value) == value, value
        mark = "i" if isinstance(value, int) else "d"
        return mark + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    members = sorted((text(key), dump(member)) for key, member in value.items())
    return "{" + ",".join(f"{key}:{member}" for key, member in members) + "}"


for file in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    print(file.name, dump(json.loads(file.read_bytes())), sep="\t")
