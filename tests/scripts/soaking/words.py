"""What do the parts of the soak share?

The tools and what has to become of a call of each, the words for what became
of it, and where they say that something does not agree.
"""

import asyncio
import collections
import time

STATEFUL, STATELESS = "2025-11-25", "2026-07-28"
META = "io.modelcontextprotocol/"
# What a client may wait for any one answer.
PATIENCE_S = 20

TOOLS = {
    # name: (arguments, tier)
    "echo": ({"text": {"type": "string"}}, "low"),
    "note": ({"text": {"type": "string"}}, "medium"),
    "pay": ({"amount": {"type": "integer"}}, "medium"),
    "ticks": ({"count": {"type": "integer"}}, "low"),
    "resumed": ({"count": {"type": "integer"}}, "low"),
    "slow": ({"ms": {"type": "integer"}}, "low"),
    "forbidden": ({"text": {"type": "string"}}, "low"),
    "wipe": ({"text": {"type": "string"}}, "high"),
}
ALLOWED = {name: True for name in TOOLS if name != "forbidden"}

# What came of a call, as its client saw it.
RESULT, REFUSED, FAILED, CUT, GONE = "result", "refused", "failed", "cut", "gone"
# What has to become of a call.
ALLOW, REFUSE = "allow", "refuse"


class Violations(collections.Counter):
    """What did not agree, counted, with the first few of each kind told."""

    def __call__(self, kind, detail=""):
        self[kind] += 1
        if self[kind] <= 5:
            print(f"VIOLATION {kind}: {detail}", flush=True)


violation = Violations()


class Stalls:
    """When this script itself stood still: what it then waits for says nothing of the gate."""

    def __init__(self):
        self.last = 0.0
        self.longest = 0.0

    async def watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.25)
            late = time.monotonic() - before - 0.25
            self.longest = max(self.longest, late)
            if late > 1:
                self.last = time.monotonic()

    def lately(self):
        return time.monotonic() - self.last < 2 * PATIENCE_S


stalls = Stalls()
