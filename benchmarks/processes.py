"""The processes of one hal0, by the folder that is its home, and what Linux says of their memory."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
OTHER = "engine, or other child"
ROLES: Mapping[str, str] = {
    r"^ray::ServeReplica:hal0:": "replica",
    r"^ray::ServeController": "Serve's controller",
    r"^ray::(Serve)?ProxyActor|^ray::HAProxy": "Serve's proxy",
    r"^ray::IDLE": "idle worker",
    r"^ray::": "other Ray worker",
    r"(^|/)haproxy ": "HAProxy",
    r"gcs_server": "Ray: gcs_server",
    r"raylet/raylet": "Ray: raylet",
    r"dashboard/agent\.py|^ray-dashboard-DashboardAgent|^ray::DashboardAgent": "Ray: dashboard agent",
    r"runtime_env/agent": "Ray: runtime environment agent",
    r"dashboard/dashboard\.py|^ray-dashboard": "Ray: dashboard",
    r"log_monitor\.py": "Ray: log monitor",
    r"autoscaler/_private/monitor\.py|_private/monitor\.py": "Ray: monitor",
    r"providers/guard\.py|-m providers\.guard": "guard",
    r"serve_app(\.cli)? up|bin/hal0 up": "launcher",
    r"serve_app\.run|serve_app/run\.py|bin/serve run": "driver",
    r"default_worker\.py|workers/": "worker that starts",
}
"""What a command line is, by the first of these that it matches."""


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB: the share of its pages that is a process's own reckoning (PSS: shared pages divided among those that share
    them), all that is resident (RSS), and what would be free without it (USS)."""

    pss: float
    rss: float
    uss: float


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    title: str

    @property
    def role(self) -> str:
        return role_of(self.title)

    @property
    def slot(self) -> str:
        """The deployment of a replica; empty for others."""
        found = re.match(r"ray::ServeReplica:hal0:([\w.:-]+)", self.title)
        return found.group(1) if found else ""


def role_of(title: str) -> str:
    name = next((name for pattern, name in ROLES.items() if re.search(pattern, title)), OTHER)
    return replica_role(title) if name == "replica" else name


def replica_role(title: str) -> str:
    deployment = title.split(":")[4].split()[0] if title.count(":") >= 4 else ""
    return deployment if deployment in ("ingress", "board") else f"slot {deployment}"


def processes_of(folder: Path) -> list[int]:
    """Every living process that has `folder` in its command line or its environment, HAProxy included."""
    sign = str(folder).encode()
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if sign in (PROC / str(pid) / "cmdline").read_bytes() or sign in (PROC / str(pid) / "environ").read_bytes():
                found.append(pid)
    return [pid for pid in found if pid != os.getpid()]


def family_of(folder: Path) -> list[Process]:
    """Those of `processes_of` and all that descends from them: engines know little of hal0's environment."""
    every = {pid: one for pid in pids() if (one := process(pid)) is not None}
    known = set(processes_of(folder)) - ancestors(os.getpid(), every)
    while more := {pid for pid, one in every.items() if one.parent in known} - known:
        known |= more
    return [every[pid] for pid in sorted(known) if pid in every]


def ancestors(pid: int, every: Mapping[int, Process]) -> set[int]:
    """`pid` and those it descends from: whoever asks may have the folder in its own command line."""
    found = set()
    while pid in every and pid not in found:
        found.add(pid)
        pid = every[pid].parent
    return found


def process(pid: int) -> Process | None:
    """None if it has ended."""
    try:
        title = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        # After the command's name, which may hold anything, parentheses too.
        parent = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return None
    return Process(pid, int(parent), title) if title else None


def memory(pid: int) -> Memory:
    """Raises `OSError` if the process has ended or is another user's."""
    return memory_of((PROC / str(pid) / "smaps_rollup").read_text())


def memory_of(rollup: str) -> Memory:
    """From /proc/PID/smaps_rollup."""
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE)}
    return Memory(pss=found["Pss"], rss=found["Rss"], uss=found["Private_Clean"] + found["Private_Dirty"])


def pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
