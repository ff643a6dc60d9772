"""One unit cost of a plan."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`amount` per `unit`: CPU microseconds, bytes, or what the name says."""

    what: str
    slots: int
    nodes: int
    amount: float
    unit: str
