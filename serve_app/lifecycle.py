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


UNSEEN = (_S.READY, _S.STARTING, _S.OFFLINE)
"""What may have happened between two reports: an engine was started, its model was ready, a life ended."""


def moves_between(before: SlotState, after: SlotState) -> tuple[SlotState, ...]:
    """The shortest way through the table, `after` last. Reports may be lost, a board is restarted, and one life may end
    and another begin between two looks."""
    ways: list[tuple[SlotState, ...]] = [()]
    for way in ways:
        at = way[-1] if way else before
        if at is after:
            return way
        if after in LEGAL_MOVES[at]:
            return (*way, after)
        ways += [(*way, state) for state in UNSEEN if state in LEGAL_MOVES[at] and state not in way]
    raise AssertionError(f"the table has no way from {before} to {after}")
