"""What is wrong with this machine, by FLM_EMULATOR_FAULT and by the file that FLM_EMULATOR_FAULT_FILE names.

Both hold `name` or `name:number`, divided by commas. The file is read anew each time, so that a fault can be put right
under a running server.
"""

import os
from enum import StrEnum
from pathlib import Path


class Fault(StrEnum):
    """Each one's effect is in the README."""

    DRIVER_MISSING = "driver-missing"
    DRIVER_TOO_OLD = "driver-too-old"
    KERNEL_TOO_OLD = "kernel-too-old"
    FIRMWARE_TOO_OLD = "firmware-too-old"
    FEW_COLUMNS = "few-columns"
    MEMLOCK_LOW = "memlock-low"
    XRT_MISSING = "xrt-missing"
    NPU_BUSY = "npu-busy"
    BROKEN_MODELS = "broken-models"
    HANG_AT_LOAD = "hang-at-load"
    CRASH_AT_LOAD = "crash-at-load"
    CRASH_UNDER_LOAD = "crash-under-load"
    CRASH_AFTER = "crash-after"
    HANG_IN_GENERATION = "hang-in-generation"
    EMPTY_ANSWERS = "empty-answers"
    LIST_WARNING = "list-warning"
    PULL_SLOW = "pull-slow"
    PULL_CUT = "pull-cut"
    PULL_CORRUPT = "pull-corrupt"
    OFFLINE = "offline"


class UnknownFault(Exception):
    """A name that is none, or a value that is no number; says which."""


def has(fault: Fault) -> bool:
    return fault in _active()


def number(fault: Fault, default: float) -> float | None:
    """What stands after the fault's colon, `default` if nothing does; None for a fault that is not there."""
    return (_active()[fault] or default) if has(fault) else None


def check() -> None:
    """Raises `UnknownFault`: a test that misspells one must not pass."""
    _active()


def _active() -> dict[Fault, float | None]:
    texts = [os.environ.get("FLM_EMULATOR_FAULT", "")]
    file = os.environ.get("FLM_EMULATOR_FAULT_FILE")
    if file and Path(file).exists():
        texts.append(Path(file).read_text())
    return dict(_fault(item) for text in texts for item in text.replace("\n", ",").split(",") if item.strip())


def _fault(item: str) -> tuple[Fault, float | None]:
    name, _, value = item.strip().partition(":")
    try:
        return Fault(name), float(value) if value else None
    except ValueError as error:
        raise UnknownFault(f"FLM_EMULATOR_FAULT: {error}; known: {', '.join(Fault)}") from error
