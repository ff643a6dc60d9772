"""How far a load is, by what llama-server writes.

Older builds write a dot for each percent, all on one line. Current ones write nothing, unless they take themselves for
the child of llama-server's own router: then a line of JSON with the share of one stage (text model, draft model,
projector), at most five times a second. On the CPU with a mapped file that goes from 0 to 1 at once.
"""

import json
import re
from typing import Any

DOTS = re.compile(r"^\.{1,100}$")
REPORT = "cmd_child_to_router:state:"


def load_progress(output: str) -> float | None:
    """0..1 by the last line that tells; None if no line does."""
    for line in reversed(output.splitlines()):
        if DOTS.match(line):
            return len(line) / 100
        if REPORT in line and (share := _reported(line.partition(REPORT)[2])) is not None:
            return share
    return None


def _reported(text: str) -> float | None:
    """The share of all stages, each counted alike; None for a line that is cut off or tells something else."""
    try:
        payload: Any = json.loads(text)["payload"]
        stages = payload.get("stages") or [payload["current"]]
        done = stages.index(payload["current"]) + float(payload["value"])
        return min(1.0, max(0.0, done / len(stages)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
