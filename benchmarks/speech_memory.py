"""How much memory hal0's processes take, by Linux's own account."""

import contextlib
import re
from pathlib import Path

from benchmarks.processes import processes_of
from providers.spec import Frozen


class Resident(Frozen):
    """MiB: now, and the most since the process began."""

    now: float
    most: float


def resident(pid: int) -> Resident:
    return resident_of((Path("/proc") / str(pid) / "status").read_text())


def resident_of(status: str) -> Resident:
    """From /proc/PID/status."""
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE)}
    return Resident(now=found["VmRSS"], most=found["VmHWM"])


def replica(home: Path, deployment: str) -> int:
    """The pid of the one replica of a deployment of the hal0 that has this folder."""
    title = re.compile(rf"ServeReplica:hal0:{re.escape(deployment)}(?![\w-])")
    pids = [pid for pid in processes_of(home) if title.search(_title(pid))]
    if len(pids) != 1:
        raise RuntimeError(f"{deployment} has {len(pids)} replicas")
    return pids[0]


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
