"""What has happened to slots, numbered, so that a watcher who comes back misses nothing. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

KEPT = 10_000
JsonRecord = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events after a cursor, and the cursor that continues them. `reset`: some are lost, or there was no cursor; the
    events are then the present state of every slot."""

    cursor: str
    events: tuple[JsonRecord, ...]
    reset: bool = False


class EventLog:
    """The last events of one board. An id is the board's own, a dash and a number, so that ids of a board that was
    restarted are told from its successor's."""

    def __init__(self, board: str, kept: int = KEPT) -> None:
        self._board = board
        self._events: deque[JsonRecord] = deque(maxlen=kept)
        self._last = 0

    @property
    def cursor(self) -> str:
        """The id of the newest event."""
        return f"{self._board}-{self._last}"

    def add(self, event: JsonRecord) -> None:
        self._last += 1
        self._events.append({"id": self.cursor, **event})

    def after(self, cursor: str | None) -> tuple[JsonRecord, ...] | None:
        """Events newer than `cursor`; None if they are no longer known."""
        board, _, number = (cursor or "").rpartition("-")
        if board != self._board or not number.isdecimal():
            return None
        missed = self._last - int(number)
        if not 0 <= missed <= len(self._events):
            return None
        # Followers ask with every report to the board, and mostly miss next to nothing of the ten thousand.
        return tuple(islice(reversed(self._events), missed))[::-1]

    def batch(self, cursor: str | None, present: Iterable[JsonRecord]) -> Batch:
        """What a watcher with this cursor is to be told; `present` is the state of all slots."""
        events = self.after(cursor)
        if events is not None:
            return Batch(self.cursor, events)
        told = list(present)
        # Who has heard only some of them begins again: no number alone tells that.
        ids = [f"{self._board}-part-{self._last}"] * (len(told) - 1) + [self.cursor]
        return Batch(self.cursor, tuple({"id": name, **one} for name, one in zip(ids, told, strict=False)), reset=True)
