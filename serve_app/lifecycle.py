"""The states of a slot and the legal moves between them."""

from enum import StrEnum


class SlotState(StrEnum):
    OFFLINE = "offline"  # no replica
    PULLING = "pulling"  # model files are being fetched or verified
    STARTING = "starting"  # the engine's process exists, its port does not answer
    WARMING = "warming"  # it answers, the model is loading
    READY = "ready"  # the model answers; no request, or none in flight for less than idle_after_s
    SERVING = "serving"  # at least one request in flight
    IDLE = "idle"  # quiet for longer than idle_after_s
    UNLOADING = "unloading"  # asked to stop; requests in flight finish
    ERROR = "error"  # the last load failed or the engine died


_S = SlotState
LOADING = frozenset({_S.PULLING, _S.STARTING, _S.WARMING})

LEGAL_MOVES: dict[SlotState, frozenset[SlotState]] = {
    _S.OFFLINE: frozenset({_S.PULLING, _S.STARTING, _S.ERROR}),
    _S.PULLING: frozenset({_S.STARTING, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.STARTING: frozenset({_S.WARMING, _S.READY, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.WARMING: frozenset({_S.READY, _S.STARTING, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.READY: frozenset({_S.SERVING, _S.IDLE, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.SERVING: frozenset({_S.READY, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.IDLE: frozenset({_S.SERVING, _S.READY, _S.UNLOADING, _S.ERROR, _S.OFFLINE}),
    _S.UNLOADING: frozenset({_S.OFFLINE, _S.ERROR}),
    _S.ERROR: frozenset({_S.PULLING, _S.STARTING, _S.UNLOADING, _S.OFFLINE}),
}

RESIDENT = frozenset({_S.READY, _S.SERVING, _S.IDLE})


class IllegalMove(RuntimeError):
    """A bug: the table has no such move."""

    def __init__(self, slot: str, before: SlotState, after: SlotState) -> None:
        super().__init__(slot, before, after)
        self.slot, self.before, self.after = slot, before, after

    def __str__(self) -> str:
        return f"slot '{self.slot}' cannot move from {self.before} to {self.after}"


def moves_between(slot: str, before: SlotState, after: SlotState) -> tuple[SlotState, ...]:
    """The states to pass through, `after` last; one life may end and another begin between two looks.

    Raises `IllegalMove` where neither the move itself nor the way by `offline` is in the table.
    """
    if after == before:
        return ()
    if after in LEGAL_MOVES[before]:
        return (after,)
    if _S.OFFLINE in LEGAL_MOVES[before] and after in LEGAL_MOVES[_S.OFFLINE]:
        return (_S.OFFLINE, after)
    raise IllegalMove(slot, before, after)
