"""Which of a slot's moves are worth a line, and that line. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.lifecycle import LOADING, RESIDENT, SlotState
from serve_app.progress import told_in_words

View = Mapping[str, Any]
"""An event of a slot, or its record."""
TENTH = 10
GOING = RESIDENT | {SlotState.UNLOADING}


@dataclass(slots=True)
class _Told:
    state: SlotState = SlotState.OFFLINE
    loading_since: float | None = None
    tenths: int = -1
    waiting: str | None = None


class SlotStory:
    """Told the same twice, it says it once: who comes back to the stream of events hears all states again."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def lines(self, view: View) -> Iterator[str]:
        name, state = str(view["name"]), SlotState(view["state"])
        told = self._told.setdefault(name, _Told())
        before, told.state = told.state, state
        yield from _waiting(name, view, told)
        if state in LOADING and told.loading_since is None:
            told.loading_since = float(view["since"])
        if state is SlotState.PULLING:
            yield from _pulling(name, view, told, began=before is not state)
        elif state is SlotState.STARTING and before is not state:
            yield f"{name}: starting"
        elif state in RESIDENT and before not in GOING:
            yield _ready(name, float(view["since"]), told.loading_since)
        elif state is SlotState.ERROR and before is not state:
            yield f"{name}: error: {_cause(view)}"
        elif state is SlotState.OFFLINE and before in GOING:
            yield f"{name}: offline"
        if state not in LOADING:
            told.loading_since, told.tenths = None, -1


def _waiting(name: str, view: View, told: _Told) -> Iterator[str]:
    reason = (view.get("waiting") or {}).get("reason")
    if reason is not None and reason != told.waiting:
        yield f"{name}: waits: {reason}"
    told.waiting = reason


def _pulling(name: str, view: View, told: _Told, began: bool) -> Iterator[str]:
    """At its begin, and at every tenth of it."""
    fraction = (view.get("progress") or {}).get("fraction")
    tenths = -1 if fraction is None else int(fraction * TENTH)
    if began or tenths > told.tenths:
        told.tenths = tenths
        yield told_in_words(name, {"state": view["state"], "progress": view.get("progress")}).replace(" is ", ": ", 1)


def _ready(name: str, since: float, loading_since: float | None) -> str:
    return f"{name}: ready" if loading_since is None else f"{name}: ready after {max(0.0, since - loading_since):.1f} s"


def _cause(view: View) -> str:
    return " ".join(str((view.get("last_error") or {}).get("message") or "no reason is known").split())
