"""What is made of figures. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from statistics import median


class Comparison(StrEnum):
    """How a path's figure is set against the bare engine's of the same round."""

    RATIO = "ratio"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and extremes over rounds, in the unit of the figures."""

    median: float
    low: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    return Spread(median(figures), min(figures), max(figures))


def percentile(figures: Sequence[float], percent: float) -> float:
    """Nearest rank: always a figure that was measured."""
    ranked = sorted(figures)
    return ranked[max(0, ceil(len(ranked) * percent / 100) - 1)]


def compare(bare: Sequence[float], ours: Sequence[float], comparison: Comparison) -> Spread:
    """Round by round, so that whatever slows the machine down for a while slows both sides."""
    pairs = list(zip(bare, ours, strict=True))
    if comparison is Comparison.RATIO:
        return spread([own / base for base, own in pairs])
    return spread([own - base for base, own in pairs])
