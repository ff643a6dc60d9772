"""How often Serve's controller looks at its deployments.

It does one thing at each look: what the policy decides it starts at the next one, a worker that is there it initialises
at the one after that, and so on. With Serve's own ten looks a second a cold start spends several tenths of a second
between them; many more would cost CPU time while nothing happens. So they are quick only while a slot comes or goes.
"""

from importlib import import_module
from typing import Any

from serve_app.fleet import Fleet, Phase, SlotSeen

QUICK_S = 0.01
QUICK_FOR_S = 2.0
"""After the last change. What takes longer is the engine's load, for which no look is needed."""


class Pace:
    """`slow_s` is the pause between two looks when nothing moves."""

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._last: object = None
        self._changed_at = float("-inf")

    def pause_s(self, fleet: Fleet, now: float) -> float:
        """Until the next look. `now` is on any clock that only goes forward."""
        motion = (dict(fleet.targets), {name: _stand(slot) for name, slot in fleet.slots.items()})
        if motion != self._last:
            self._last, self._changed_at = motion, now
        return min(QUICK_S, self._slow_s) if now - self._changed_at < QUICK_FOR_S else self._slow_s


def _stand(slot: SlotSeen) -> object:
    """What changes when replicas come or go, and not with each request."""
    phases = tuple(replica.phase for replica in slot.replicas)
    answers = Phase.READY in phases
    return phases, slot.wanted, slot.unwanted, slot.queued > 0 and not answers


def set_pause(pause_s: float) -> None:
    """Of the controller in whose process this runs."""
    controller: Any = import_module("ray.serve._private.controller")
    controller.CONTROL_LOOP_INTERVAL_S = pause_s


def usual_pause_s() -> float:
    """Serve's own, or what RAY_SERVE_CONTROL_LOOP_INTERVAL_S says."""
    constants: Any = import_module("ray.serve._private.constants")
    return float(constants.CONTROL_LOOP_INTERVAL_S)
