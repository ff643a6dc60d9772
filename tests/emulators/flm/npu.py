"""The one NPU: a request at a time, a queue behind it, and a pause before each that was queued."""

import time
from collections import deque
from threading import Event, Lock

from tests.emulators.flm import faults, settings
from tests.emulators.flm.console import say
from tests.emulators.flm.crash import crash
from tests.emulators.flm.faults import Fault

PAUSE_S = 0.333


class QueueFull(Exception):
    """As many wait as may wait."""


class Npu:
    """Held from `enter` to `leave`, by any thread."""

    def __init__(self, queue_limit: int) -> None:
        self.queue_limit = queue_limit
        self._lock = Lock()
        self._waiting: deque[Event] = deque()
        self._busy = False
        self._entered = 0

    @property
    def busy(self) -> bool:
        return self._busy

    def enter(self, what: str) -> None:
        """Waits for its turn, first come first served, whether the client does so or not. Raises `QueueFull`."""
        turn = Event()
        with self._lock:
            if self._busy and faults.has(Fault.CRASH_UNDER_LOAD):
                crash("double free or corruption (!prev)")
            if not self._busy:
                self._busy = True
                say("🟢 ", "NPU Locked!")
                turn.set()
            elif len(self._waiting) >= self.queue_limit:
                say("🚫 ", f"NPU busy and queue full, request denied: {what}")
                raise QueueFull
            else:
                self._waiting.append(turn)
                place = f"{len(self._waiting)}/{self.queue_limit}"
                say("🕒 ", f"NPU busy, request queued ({place}): {what}")
        turn.wait()
        self._entered += 1
        if self._entered == faults.number(Fault.CRASH_AFTER, 1):
            crash("malloc_consolidate(): unaligned fastbin chunk detected")

    def leave(self) -> None:
        """Gives the NPU to the next, after the pause; the one that leaves has to wait for it."""
        with self._lock:
            if not self._waiting:
                self._busy = False
                say("🔵 ", "NPU Lock Released!")
                return
        time.sleep(settings.paced(PAUSE_S))
        with self._lock:
            turn = self._waiting.popleft()
            say("🟡 ", f"Dequeuing NPU request ({len(self._waiting)} remaining)...")
        turn.set()
