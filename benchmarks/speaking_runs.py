"""One text spoken again and again for some clients at once: when its first byte came, when its last."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.load import LoadError
from benchmarks.speech_runs import Effort, Work, repeat
from providers.spec import Frozen

Speak = Callable[[], Iterator[bytes]]
"""Speaks one text; what can be sent of it, as soon as it can be."""


class Spoken(Frozen):
    """`first_s`, `times_s`: from a text's beginning to its first and its last byte, in no common order. `seconds`: from
    the first beginning to the last end. `size`: bytes of each answer."""

    first_s: tuple[float, ...]
    times_s: tuple[float, ...]
    seconds: float
    size: int


def spoken(client: Callable[[], AbstractContextManager[Speak]], effort: Effort) -> Spoken:
    """Raises `LoadError` for an answer that is empty, or of another size than the others."""
    first_s: list[float] = []

    @contextmanager
    def listener() -> Iterator[Work]:
        with client() as speak:

            def work() -> str:
                first, size = _heard(speak)
                first_s.append(first)
                return str(size)

            yield work

    runs = repeat(listener, effort)
    return Spoken(first_s=tuple(first_s), times_s=runs.times_s, seconds=runs.seconds, size=int(runs.text))


def _heard(speak: Speak) -> tuple[float, int]:
    """Seconds to the first byte, and bytes in all."""
    first_s, size, begins = 0.0, 0, time.perf_counter()
    for piece in speak():
        if piece and not size:
            first_s = time.perf_counter() - begins
        size += len(piece)
    if not size:
        raise LoadError("nothing was spoken")
    return first_s, size
