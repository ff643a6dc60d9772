"""Memory as the kernel counts it: what an engine holds, and what is left on this node. Linux's /proc and cgroups v2."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = "max"
KIB = 1024


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Memory of a process and all its descendants; pages that several share are counted once. 0 if it is gone.

    Milliseconds for each process: the kernel walks its pages.
    """
    return sum(_share_of(process, proc) for process in family(pid, proc))


def available_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """What programs on this node could still take without swapping, within the limits of our own cgroups."""
    left = [_field(proc / "meminfo", "MemAvailable") or 0]
    for group in _own_cgroups(proc, cgroups):
        if (limit := _number(group / "memory.max")) is not None:
            used = (_number(group / "memory.current") or 0) - _reclaimable(group)
            left.append(max(0, limit - max(0, used)))
    return min(left)


def total_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """This node's memory, or the least that one of our own cgroups may take."""
    limits = (_number(group / "memory.max") for group in _own_cgroups(proc, cgroups))
    return min([_field(proc / "meminfo", "MemTotal") or 0, *(limit for limit in limits if limit is not None)])


def family(pid: int, proc: Path = PROC) -> list[int]:
    """A process and its descendants, parents first."""
    members = [pid]
    for member in members:
        members += _children(member, proc)
    return members


def _children(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    # A child is listed at the thread that forked it.
    for listing in (proc / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, listing.read_text().split())
    return found


def _share_of(pid: int, proc: Path) -> int:
    """The proportional set size; the resident one where we may not know that."""
    folder = proc / str(pid)
    share = _field(folder / "smaps_rollup", "Pss")
    return share if share is not None else _field(folder / "status", "VmRSS") or 0


def _field(file: Path, name: str) -> int | None:
    """Bytes behind `name:` in a file of lines such as `Pss: 12 kB`; None if there is no such line or file."""
    for line in _text(file).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * KIB
    return None


def _own_cgroups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Our cgroup and those around it, as far as they can be seen from here."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":
            own = Path(path.lstrip("/"))
            yield from (cgroups / part for part in (own, *own.parents) if ".." not in part.parts)


def _reclaimable(group: Path) -> int:
    """Bytes of cached files, which give way to programs."""
    for line in _text(group / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == "inactive_file":
            return int(value)
    return 0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text and text != UNLIMITED else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
