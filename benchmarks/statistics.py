"""What is made of figures. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, comb
from statistics import median

CONFIDENCE = 0.9
"""That an interval holds the median of what might have been measured, if there are rounds enough: five or more."""


class Comparison(StrEnum):
    """How a path's figure is set against the bare engine's of the same round."""

    RATIO = "ratio"
    DIFFERENCE = "difference"


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    """The bound lies within the interval: the machine was too busy, or the rounds too few, to tell."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and an interval, in the unit of the figures."""

    median: float
    low: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    """The interval is between order statistics, so it assumes nothing of how figures are distributed."""
    ranked = sorted(figures)
    outside = left_out(len(ranked))
    return Spread(median(ranked), ranked[outside], ranked[-1 - outside])


def left_out(count: int) -> int:
    """How many of so many ranked figures can be left out at either end, the rest spanning the median with
    `CONFIDENCE`."""
    outside = 0
    while outside + 1 < count / 2 and coverage(count, outside + 1) >= CONFIDENCE:
        outside += 1
    return outside


def coverage(count: int, outside: int) -> float:
    """The probability that the true median lies between the ranked figures that remain: that of as many heads and
    tails of a fair coin."""
    return 1.0 - sum(comb(count, heads) for heads in range(outside + 1)) / 2.0 ** (count - 1)


def percentile(figures: Sequence[float], percent: float) -> float:
    """Nearest rank: always a figure that was measured."""
    ranked = sorted(figures)
    return ranked[max(0, ceil(len(ranked) * percent / 100) - 1)]


def compare(bare: Sequence[float], ours: Sequence[float], comparison: Comparison) -> Spread:
    """Round by round, so that whatever slows the machine down for a while slows both sides."""
    return spread(compared(bare, ours, comparison))


def compared(bare: Sequence[float], ours: Sequence[float], comparison: Comparison) -> list[float]:
    pairs = list(zip(bare, ours, strict=True))
    if comparison is Comparison.RATIO:
        return [own / base for base, own in pairs]
    return [own - base for base, own in pairs]


def verdict(result: Spread, bound: float, comparison: Comparison) -> Verdict:
    """A ratio is to be at least the bound, a difference at most. One round decides nothing but by itself."""
    if result.low < bound < result.high:
        return Verdict.UNDECIDED
    reached = result.median >= bound if comparison is Comparison.RATIO else result.median <= bound
    return Verdict.MET if reached else Verdict.MISSED
