"""Turns at one model's files, among the threads and processes of a node."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from providers.pulling import PullCancelled

POLL_S = 0.2


@contextmanager
def turn(path: Path, cancelled: Event, while_waiting: Callable[[], None]) -> Iterator[int]:
    """Holds the lock; its descriptor, which holds it for as long as any process has it open. The file stays: if it were
    removed, two could each hold one. Raises `PullCancelled`."""
    with _opened(path) as descriptor:
        while not _taken(descriptor):
            while_waiting()
            if cancelled.wait(POLL_S):
                raise PullCancelled
        yield descriptor


@contextmanager
def turn_if_free(path: Path) -> Iterator[bool]:
    """Whether the lock is held; it is not if somebody else has it."""
    with _opened(path) as descriptor:
        yield _taken(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
