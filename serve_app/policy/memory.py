"""What the policy remembers from one decision to the next. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the stages of a replica are to start, and since when Serve has known that it must. `nodes` is empty if
    nobody has planned it: Serve replaces replicas by itself."""

    nodes: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class Fewer:
    """Since when a slot has needed fewer replicas than it has, and how many at most meanwhile."""

    since: float
    count: int


@dataclass(frozen=True, slots=True)
class Memory:
    """`plans`: of the replicas that Serve was told to start and that are not seen yet. `waiting`: since when slots have
    had no place. `yielding`: since when slots have been asked to give way. `relieved`: when something last left a
    node."""

    plans: Mapping[str, tuple[Plan, ...]] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)
    fewer: Mapping[str, Fewer] = field(default_factory=dict)
    yielding: Mapping[str, float] = field(default_factory=dict)
    relieved: Mapping[str, float] = field(default_factory=dict)
