"""Which of several engines a prompt goes to: one that has its beginning in its KV cache, unless that is too busy. Pure.

The choice is the ingress's own, since requests do not pass Serve's router: only leases do. Ingresses share no memory;
where one does not know a prompt, the engine follows from its opening alone (rendezvous hashing), so that all of them
come to the same one without talking, as long as their engines are equally busy.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

from serve_app.affinity_prompt import MARKS_AT, Prompt

MOST_MARKS: Final = 32_768
"""A conversation has some 30; an engine's cache holds fewer of them than this remembers."""
MOST_HOLDERS: Final = 8
"""Remembered for one mark. What many engines have, like a prompt that all conversations begin with, decides nothing."""
TOO_BUSY_SHARE: Final = 4
"""An engine's cache is worth waiting behind a quarter of what it can do at once, but not more."""
LEAST_SHARE_KNOWN: Final = 2
"""Half of a prompt must be known. Whoever shares less, most of all a common first message, may go anywhere."""


class Choice(Protocol):
    """`engine` changes with each start of one, and with it what it has in its cache; `replica` does not."""

    @property
    def engine(self) -> str: ...
    @property
    def replica(self) -> str: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def capacity(self) -> int: ...


Engine = TypeVar("Engine", bound=Choice)


class Affinity:
    """What the engines of one slot have read. The marks used least recently are forgotten; so are, with them, engines
    that are gone: none comes back under its name."""

    def __init__(self, most_marks: int = MOST_MARKS) -> None:
        self._most_marks = most_marks
        self._holders: dict[int, tuple[str, ...]] = {}
        """For each mark the engines that have read all before it, the last one first."""

    def __len__(self) -> int:
        return len(self._holders)

    def choose(self, prompt: Prompt, engines: Sequence[Engine]) -> Engine:
        """`engines`: those that could take it at once; at least one."""
        least = min(engine.in_flight for engine in engines)
        near = [one for one in engines if one.in_flight <= least + max(1, one.capacity // TOO_BUSY_SHARE)]
        warm = self._warm(prompt, near) or engines
        least = min(engine.in_flight for engine in warm)
        best = [engine for engine in warm if engine.in_flight == least]
        return best[0] if len(best) == 1 else max(best, key=lambda one: _score(one.replica, prompt.opening))

    def note(self, prompt: Prompt, engine: str) -> None:
        """The engine reads it now."""
        for mark in prompt.marks:
            known = self._holders.pop(mark, ())
            if not known or known[0] != engine:
                known = (engine, *(other for other in known if other != engine))[:MOST_HOLDERS]
            self._holders[mark] = known
        while len(self._holders) > self._most_marks:
            del self._holders[next(iter(self._holders))]

    def _warm(self, prompt: Prompt, engines: Sequence[Engine]) -> list[Engine]:
        """Those that have read most of it."""
        for number in range(len(prompt.marks) - 1, -1, -1):
            if MARKS_AT[number] * LEAST_SHARE_KNOWN < prompt.size:
                break
            holders = self._holders.get(prompt.marks[number])
            if holders and (warm := [engine for engine in engines if engine.engine in holders]):
                return warm
        return []


def _score(replica: str, opening: int) -> bytes:
    return blake2b(replica.encode(), key=opening.to_bytes(4), digest_size=8).digest()
