"""What the kernel says of memory, by a real process family and by made-up files."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.engine_memory import available_bytes, family, resident_bytes, total_bytes

MIB = 1024**2
HELD_MIB = 64
PARENT = f"""
import subprocess, sys
child = "held = bytearray(b'x' * ({HELD_MIB} << 20)); print(flush=True); input()"
subprocess.run([sys.executable, "-c", child])
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A small process whose child holds 64 MiB."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_a_descendant_holds_counts(parent: subprocess.Popen[bytes]) -> None:
    held = resident_bytes(parent.pid)
    assert HELD_MIB * MIB < held < (HELD_MIB + 64) * MIB
    assert held == pytest.approx(resident_bytes(parent.pid), rel=0.05)
    assert len(family(parent.pid)) == 2


def test_a_child_of_another_thread_is_found() -> None:
    import os

    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(subprocess.Popen(["sleep", "60"])))
    thread.start()
    thread.join()
    with started[0] as child:
        assert child.pid in family(os.getpid())
        child.kill()


def test_a_process_that_is_gone_holds_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert resident_bytes(process.pid) == 0


def test_shares_are_summed_and_the_resident_set_stands_in(tmp_path: Path) -> None:
    write(tmp_path / "1/task/1/children", "2 3 ")
    write(tmp_path / "1/smaps_rollup", "0-f ---p 0 00:00 0 [rollup]\nRss: 100 kB\nPss:   10 kB\nPss_Dirty: 5 kB\n")
    write(tmp_path / "2/status", "Name:\tx\nVmRSS:\t     200 kB\n")
    write(tmp_path / "3/status", "Name:\tzombie\n")
    assert resident_bytes(1, tmp_path) == 210 * 1024


def test_this_machine() -> None:
    assert 0 < available_bytes() < total_bytes()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    write(tmp_path / "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 800 kB\n")
    write(tmp_path / "proc/self/cgroup", "4:memory:/elsewhere\n0::/outer/inner\n")
    return tmp_path


def told(node: Path) -> tuple[float, float]:
    """Available and all, in KiB."""
    return tuple(ask(node / "proc", node / "cgroups") / 1024 for ask in (available_bytes, total_bytes))  # type: ignore[return-value]


def limit(group: Path, most: object, current: int = 0, cached: int = 0) -> None:
    """KiB."""
    write(group / "memory.max", f"{most * 1024 if isinstance(most, int) else most}\n")
    write(group / "memory.current", f"{current * 1024}\n")
    write(group / "memory.stat", f"anon 7\ninactive_file {cached * 1024}\nactive_file 9\n")


def test_without_limits_the_machine_counts(node: Path) -> None:
    assert told(node) == (800, 1000)
    limit(node / "cgroups/outer/inner", "max", 100)
    assert told(node) == (800, 1000)


@pytest.mark.parametrize("group", ["", "outer", "outer/inner"])
def test_a_limit_of_any_group_around_us_counts(node: Path, group: str) -> None:
    limit(node / "cgroups" / group, 500, 300, 50)
    assert told(node) == (250, 500)


def test_a_limit_beyond_the_machine_does_not(node: Path) -> None:
    limit(node / "cgroups/outer", 5000, 100)
    assert told(node) == (800, 1000)


def test_a_group_over_its_limit_has_nothing_left(node: Path) -> None:
    limit(node / "cgroups/outer", 500, 600)
    assert told(node) == (0, 500)


def test_a_namespace_that_hides_what_is_above(node: Path) -> None:
    write(node / "proc/self/cgroup", "0::/../../other\n")
    limit(node / "other", 1)
    assert told(node) == (800, 1000)


def test_a_machine_without_any_of_it_has_nothing(tmp_path: Path) -> None:
    assert told(tmp_path) == (0, 0)
