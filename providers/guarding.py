"""The argv that runs a program so that nothing of it outlives its owner."""

import sys
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")


def guarded(argv: tuple[str, ...], stop: int, grace_s: float, cleanup: tuple[str, ...] = ()) -> list[str]:
    """`argv` under its guard; the pipe on the guard's stdin is what keeps it alive. Without that it gets the signal
    `stop`, after `grace_s` it is killed, and then `cleanup` runs."""
    return [sys.executable, "-I", "-S", str(GUARD), str(int(stop)), str(grace_s), *cleanup, "--", *argv]
