"""Processes of this machine, told apart by more than a number that is used again."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
START_TIME = 19
"""Of the fields behind the name in /proc/PID/stat: when the process began, in clock ticks since boot."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """`born` tells it from another one that got its number later, after a restart of the machine, too."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """None if there is none, or it has ended and nobody has looked yet."""
        try:
            # The name may hold anything, parentheses and spaces included.
            fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            return None if fields[0] in "ZX" else cls(pid, f"{BOOT_ID.read_text().strip()}/{fields[START_TIME]}")
        except (OSError, IndexError):
            return None

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self


def marked(name: str, value: str) -> list[Process]:
    """Those that were started with `name=value` in their environment, and that we may look into; not this one."""
    sign = f"\0{name}={value}\0".encode()
    found = []
    for folder in PROC.iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if sign in b"\0" + (folder / "environ").read_bytes() + b"\0":
                    found.append(Process.of(int(folder.name)))
    return [process for process in found if process is not None]


def send(process: Process, number: int) -> None:
    """Nothing, if it has ended."""
    if process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def gone_within(processes: Sequence[Process], limit_s: float) -> bool:
    """Whether all of them ended in this time."""
    return _until(lambda: not any(process.alive for process in processes), limit_s)


def end_all(find: Callable[[], Sequence[Process]], grace_s: float) -> int:
    """Ask what `find` finds to stop, kill it after `grace_s`, until it finds nothing; how many there were."""
    met = set(find())
    for process in met:
        send(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    _until(lambda: not find(), grace_s)
    while (left := find()) and time.monotonic() < deadline + grace_s:
        met.update(left)
        for process in left:
            send(process, signal.SIGKILL)
        time.sleep(POLL_S)
    return len(met)


def _until(done: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not (over := done()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return over
