"""How far a pull is, in bytes, and how fast it goes."""

import time
from collections import deque
from collections.abc import Callable

from providers.pulling import PullProgress

REPORT_EVERY_S = 0.25
RATE_WINDOW_S = 5.0
RATE_SPAN_S = 0.5
"""Fewer seconds of measuring tell no rate."""


class Meter:
    """Adds up the files of one pull and reports, at most every `REPORT_EVERY_S`."""

    def __init__(
        self, report: Callable[[PullProgress], None] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report, self._clock = report, clock
        self._done: dict[str, int] = {}
        self._sizes: dict[str, int | None] = {}
        self._samples: deque[tuple[float, int]] = deque()
        self._reported = float("-inf")
        self._file = ""

    def expect(self, file: str, size: int | None) -> None:
        """`file` is to come; its size in bytes, if that is known by now."""
        self._sizes[file] = size
        self._done.setdefault(file, 0)

    def jump(self, file: str, done: int) -> None:
        """So many bytes are there without having come just now: they are no part of the rate."""
        self._file, self._done[file] = file, done
        self._samples.clear()
        self._sample()

    def at(self, file: str, done: int) -> None:
        """So many bytes of `file` have come."""
        if file != self._file:
            self.jump(file, done)
        self._done[file] = done
        if self._clock() - self._reported >= REPORT_EVERY_S:
            self._sample()
            self._tell()

    def tick(self) -> None:
        """Nothing has come: the rate falls."""
        if self._file:
            self.at(self._file, self._done[self._file])

    def finish(self) -> None:
        if self._file:
            self._sample()
            self._tell()

    def _sample(self) -> None:
        now = self._clock()
        self._samples.append((now, sum(self._done.values())))
        while now - self._samples[0][0] > RATE_WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()

    def _tell(self) -> None:
        self._reported = self._clock()
        if self._report is None:
            return
        sizes = list(self._sizes.values())
        done, rate = sum(self._done.values()), self._rate()
        total = None if None in sizes else sum(size or 0 for size in sizes)
        eta = max(0, total - done) / rate if total is not None and rate else None
        self._report(PullProgress(done, total, rate, eta, self._file))

    def _rate(self) -> float | None:
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (ended - began)) if ended - began >= RATE_SPAN_S else None
