"""How often a failed try is made again, and after which wait."""

from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from providers.pulling import PullCancelled
from serve_app.models.transport import Failure, Kind

TRIES = {Kind.UNREACHABLE: 2, Kind.SILENT: 3, Kind.CUT: 5, Kind.BUSY: 4, Kind.REFUSED: 1}
FIRST_WAIT_S = 0.5
SLOWEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 30.0
"""A server that asks for more is not waited for."""
RENEWING_BYTES = 1 << 20
"""So many new bytes show that trying again is worth it."""

T = TypeVar("T")


class Patience:
    """Counts the failures since something last came through."""

    def __init__(self, cancelled: Event) -> None:
        self._cancelled = cancelled
        self._failures: Counter[Kind] = Counter()

    def spend(self, failure: Failure, came: int = 0) -> None:
        """Wait for the next try; `came` is how many new bytes the last one brought.

        Raises `failure` when there is no next try, and `PullCancelled`.
        """
        if came >= RENEWING_BYTES:
            self._failures.clear()
        self._failures[failure.kind] += 1
        wait_s = min(FIRST_WAIT_S * 2 ** (self._failures.total() - 1), SLOWEST_WAIT_S)
        if (asked := retry_after_s(failure)) is not None:
            wait_s = asked
        if self._failures[failure.kind] >= TRIES[failure.kind] or wait_s > LONGEST_RETRY_AFTER_S:
            raise failure
        if self._cancelled.wait(wait_s):
            raise PullCancelled


def retry_after_s(failure: Failure) -> float | None:
    """What the server asked for, in seconds; a date is not understood."""
    value = failure.headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None


def patiently(cancelled: Event, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried as often as its failures are worth. Raises the last one."""
    patience = Patience(cancelled)
    while True:
        try:
            return attempt()
        except Failure as failure:
            patience.spend(failure)
