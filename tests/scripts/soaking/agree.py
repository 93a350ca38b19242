"""Do clients, record and server agree, and did the gate bear it well?"""

import collections
import contextlib
import json
import subprocess

from .gate import SAMPLE_S
from .words import ALLOW, GONE, REFUSE, REFUSED, RESULT, violation

# In the first minutes memory grows: caches and connections fill.
ENOUGH_SAMPLES = 5 * 60 // SAMPLE_S
# The effect and code of a call that is not on record.
NOT_THERE = (None, None)


class Record:
    """What `countersign audit tail` gives, brought together by call."""

    def __init__(self, gate):
        self.effects = {}  # call's id: effect
        self.outcomes = collections.Counter()  # call's id: how many
        self.endings = collections.Counter()
        self.by_trace = {}  # trace id: (effect, code)
        self.kinds = collections.Counter()
        command = [gate.binary, "audit", "tail", "--json", "-n", "100000000", "--state", gate.out / "state"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as audit:
            for line in audit.stdout:
                self.take(json.loads(line))
        if audit.returncode != 0:
            violation("the record cannot be read whole", f"audit exits with {audit.returncode}")

    def take(self, entry):
        kind = entry["kind"]
        self.kinds[kind] += 1
        if kind == "policy":
            self.kinds["policy: refused" if "problem" in entry else "policy: changed"] += 1
        if kind not in ("intent", "outcome"):
            return
        call = int(entry["id"].replace("-", ""), 16)
        if kind == "outcome":
            self.outcomes[call] += 1
            self.endings[entry["outcome"]] += 1
            if call not in self.effects:
                violation("an outcome comes before its intent", entry["id"])
            return
        if call in self.effects:
            violation("a call is on record twice", entry["id"])
        self.effects[call] = entry["effect"]
        trace = entry.get("trace_id")
        if trace is not None:
            if trace in self.by_trace:
                violation("a call was decided twice", trace)
            self.by_trace[trace] = (entry["effect"], entry["code"])


def compare(record, load, upstream, gate):
    """Holds record, clients and server to each other."""
    for call, effect in record.effects.items():
        wanted = 1 if effect == "allow" else 0
        if record.outcomes[call] != wanted:
            violation("a call has not the outcomes it should", f"{call:032x}: {effect}, {record.outcomes[call]}")
    for trace, times in upstream.executed.items():
        if times != 1:
            violation("the server ran a call twice", trace)
        if record.by_trace.get(trace, NOT_THERE)[0] != "allow":
            violation("the server ran a call that the record does not allow", trace)
    for trace, (expect, saw) in load.calls.items():
        effect, code = record.by_trace.get(trace, NOT_THERE)
        if expect == REFUSE and effect == "allow":
            violation("the record allows what is not allowed", trace)
        given_up = saw == GONE and code == "cancelled"
        if expect == ALLOW and effect not in ("allow", None) and not given_up:
            violation("the record refuses what is allowed", trace)
        if saw == RESULT and not upstream.executed[trace]:
            violation("a client has a result that the server never gave", trace)
        if saw in (RESULT, REFUSED) and effect is None:
            violation("a call that was answered is not on record", trace)
    for decision in load.decisions - record.effects.keys():
        violation("a decision that a client was told of is not on record", f"{decision:032x}")
    allowed = sum(effect == "allow" for effect in record.effects.values())
    if upstream.executed.total() > allowed:
        violation("the server ran more calls than were allowed", f"{upstream.executed.total()} > {allowed}")
    for kind, entry in (("good", "policy: changed"), ("broken", "policy: refused")):
        if gate.reloads[kind] != record.kinds[entry]:
            violation("changes of policy are not all on record", f"{gate.reloads[kind]} {kind}, {record.kinds[entry]} {entry}")
    if record.kinds["start"] != 1 or record.kinds["stop"] != 1:
        violation("start or stop is not on record", dict(record.kinds))
    return allowed


def check_memory(samples):
    """The last third stays below where the second third began, 15 % and 3 MB added."""
    third = len(samples) // 3
    start, highest = samples[third], max(samples[2 * third :])
    if len(samples) < ENOUGH_SAMPLES:
        return f"{start} kB, then at most {highest} kB; not judged, as it still warms up"
    bound = start * 1.15 + 3 * 1024
    if highest > bound:
        violation("memory grows", f"{highest} kB in the last third, {start} kB when the second began")
    return f"{start} kB, then at most {highest} kB (bound {bound:.0f} kB), peak {max(samples)} kB"


def check_log(path):
    """No panic, and what else the gate complained of."""
    said = collections.Counter()
    for line in path.read_text(errors="replace").splitlines():
        if "panicked" in line or "a call's task failed" in line:
            violation("the gate panicked", line)
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            message = entry.get("message") or entry.get("fields", {}).get("message") or ""
            said[f"{entry.get('level')} {message[:70]}"] += 1
    return said
