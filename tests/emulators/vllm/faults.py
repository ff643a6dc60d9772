"""What is wrong, by the file that VLLM_EMULATOR_FAULT_FILE names: lines of `name` or `name:number`. It is read anew
each time, so that a fault can be put right under a running server."""

import os
from enum import StrEnum
from pathlib import Path


class Fault(StrEnum):
    CACHE_TOO_SMALL = "cache-too-small"
    OUT_OF_MEMORY = "out-of-memory"
    SLOW_LOAD = "slow-load"
    """Seconds."""
    CORE_DIES = "core-dies"
    """At the next request."""
    CORE_DIES_IN_STREAM = "core-dies-in-stream"
    """After so many tokens."""
    STAYS_AWAKE = "stays-awake"
    STAYS_ASLEEP = "stays-asleep"


def has(fault: Fault) -> bool:
    return fault in _active()


def number(fault: Fault) -> float | None:
    """What stands after the colon; None for a fault that is not there."""
    return _active().get(fault)


def _active() -> dict[Fault, float]:
    """Raises ValueError for a name that is none: a test that misspells one must not pass."""
    file = os.environ.get("VLLM_EMULATOR_FAULT_FILE")
    lines = Path(file).read_text().split() if file and Path(file).exists() else []
    parts = (line.partition(":") for line in lines)
    return {Fault(name): float(value or 1) for name, _, value in parts}
