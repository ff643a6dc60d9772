"""Locks on files that the kernel drops when their holder dies, however it dies."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from providers.pulling import PullCancelled

POLL_S = 0.2


def take(path: Path) -> int | None:
    """The descriptor that holds the lock until it is closed; None: somebody else has it, in this process or another.

    huggingface-hub locks its files in the same way, so that either side waits for the other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        # Held, or removed since it was opened: a lock on a removed file would exclude nobody.
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextmanager
def turn(path: Path, cancelled: Event, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock; calls `while_waiting` now and then until it is free. Raises `PullCancelled`."""
    while (descriptor := take(path)) is None:
        while_waiting()
        if cancelled.wait(POLL_S):
            raise PullCancelled
    try:
        yield
    finally:
        os.close(descriptor)
