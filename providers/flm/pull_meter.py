"""How far a slot's pulls are together, and how fast they go."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from providers.flm.pull_output import PullOutput
from providers.pulling import PullProgress

REPORT_EVERY_S = 0.25
RATE_WINDOW_S = 5.0
RATE_SPAN_S = 0.9
"""Fewer seconds of measuring tell no rate: the program says once a second how far it is."""
STILL_S = 2.0
"""A count that has not changed for so long makes the rate fall."""


class PullMeter:
    """Adds up the models of one slot. A model's size is estimated until its pull tells it; once a first byte has come,
    estimates stay, and what is told is scaled to them, so that the share of what is done does not fall."""

    def __init__(
        self,
        report: Callable[[PullProgress], None] | None,
        estimates: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._clock = report, clock
        self._sizes = dict(estimates)
        self._done = dict.fromkeys(estimates, 0)
        self._samples: deque[tuple[float, int]] = deque()
        self._reported = float("-inf")
        self._file = ""
        self._begun: tuple[str, str, bool] | None = None

    def here(self, tag: str, size: int) -> None:
        """The whole model lies on the disk, so many bytes; no part of the rate."""
        if not any(self._done.values()):
            self._sizes[tag] = size
        self._done[tag] = self._sizes[tag]
        self._samples.clear()

    def pulling(self, tag: str, output: PullOutput, there: int) -> None:
        """So far is the pull of `tag`; `there`: bytes of files that it does not bring."""
        if output.bytes_total is not None:
            told = there + output.bytes_total
            if not any(self._done.values()):
                self._sizes[tag] = told
            done = there + output.bytes_done
            self._done[tag] = done * self._sizes[tag] // told if told else 0
        self._file = f"{tag} {output.file}".strip()
        # The first count of a file includes what an earlier pull left of it.
        if (begun := (tag, output.file, output.counted)) != self._begun:
            self._begun = begun
            self._samples.clear()
        if self._clock() - self._reported >= REPORT_EVERY_S:
            self.tell()

    def waiting(self, tag: str) -> None:
        """Another pull brings this model."""
        self._file = f"{tag} (another pull brings it)"
        if self._clock() - self._reported >= REPORT_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._sample()
        self._reported = self._clock()
        if self._report is None:
            return
        done, total, rate = sum(self._done.values()), self._total(), self._rate()
        eta = max(0, total - done) / rate if total is not None and rate else None
        self._report(PullProgress(done, total, rate, eta, self._file))

    def _total(self) -> int | None:
        sizes = self._sizes.values()
        return sum(sizes) if all(sizes) else None

    def _sample(self) -> None:
        now, done = self._clock(), sum(self._done.values())
        if self._samples and done == self._samples[-1][1] and now - self._samples[-1][0] < STILL_S:
            return
        self._samples.append((now, done))
        while now - self._samples[0][0] > RATE_WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()

    def _rate(self) -> float | None:
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (ended - began)) if ended - began >= RATE_SPAN_S else None
