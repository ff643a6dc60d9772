"""The signals that ask `hal0 up` to stop."""

import signal
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The user asked to stop."""


def on_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in STOP_SIGNALS:
        # `nohup` has it ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def raise_stopped(_number: int, _frame: FrameType | None) -> None:
    """Once: a second signal does not cut the stop short."""
    on_signals(signal.SIG_IGN)
    raise Stopped
