"""Lines for the person who started it. A terminal that was closed, or a reader that has left, is no reason to stop."""

import contextlib
import sys
import time
from collections.abc import Callable

CLOCK_AFTER_S = 600.0


def say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def complain(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


class Story:
    """Lines with the seconds since the start; later ones, when nobody counts any more, with the time of day."""

    def __init__(self, now: Callable[[], float] = time.monotonic, tell: Callable[[str], None] = say) -> None:
        self._now, self._tell, self._began = now, tell, now()

    def add(self, text: str) -> None:
        self._tell(f"{stamp(self._now() - self._began)}  {text}")


def stamp(elapsed_s: float) -> str:
    return f"{elapsed_s:6.1f} s" if elapsed_s < CLOCK_AFTER_S else time.strftime("%H:%M:%S")
