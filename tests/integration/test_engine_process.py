"""Real processes under their guard: nothing of an engine outlives its owner."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from providers.base import Command
from serve_app import engine_process
from serve_app.engine_log import EngineLog
from serve_app.engine_process import EngineProcess

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
POLITE = """
import signal, sys, time
def stop(*_):
    print("stopping", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
time.sleep(99)
"""
FAMILY = """
import os, subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(99)"]
child = subprocess.Popen(sleeper)
escaped = subprocess.Popen(sleeper, start_new_session=True)
print("family", os.getpid(), child.pid, escaped.pid, flush=True)
time.sleep(99)
"""
OWNER = """
import asyncio, os, sys
from pathlib import Path
from providers.base import Command
from serve_app.engine_log import EngineLog
from serve_app.engine_process import EngineProcess

async def main():
    log = EngineLog(Path(sys.argv[1]))
    process = await EngineProcess.start(Command((sys.executable, "-c", sys.argv[2])), os.environ, log)
    while not log.tail():
        await asyncio.sleep(0.01)
    print(*log.tail()[0].split()[1:], process.pid, flush=True)
    await asyncio.sleep(99)

asyncio.run(main())
"""

Start = Callable[..., "asyncio.Future[EngineProcess]"]


def gone(pid: int) -> bool:
    """Not even a zombie; or one that only its foreign parent can reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
async def processes() -> AsyncIterator[list[EngineProcess]]:
    started: list[EngineProcess] = []
    yield started
    for process in started:
        await process.stop()


@pytest.fixture
def start(processes: list[EngineProcess], tmp_path: Path) -> Start:
    async def run(*argv: str, cleanup: tuple[str, ...] = ()) -> EngineProcess:
        log = EngineLog(tmp_path / "engine.log")
        processes.append(await EngineProcess.start(Command(argv, cleanup), os.environ, log))
        return processes[-1]

    def scheduled(*argv: str, cleanup: tuple[str, ...] = ()) -> "asyncio.Future[EngineProcess]":
        return asyncio.ensure_future(run(*argv, cleanup=cleanup))

    return scheduled


async def started(start: Start, code: str, cleanup: tuple[str, ...] = ()) -> EngineProcess:
    """Once it has written its first line."""
    process = await start(sys.executable, "-c", code, cleanup=cleanup)
    await until(lambda: bool(process.log.tail()) or not process.alive)
    return process


def family_of(process: EngineProcess) -> list[int]:
    return [int(pid) for pid in process.log.tail()[0].split()[1:]]


async def test_output_and_exit_code(start: Start) -> None:
    process = await start("sh", "-c", "echo out; echo err >&2; exit 3")
    assert await process.wait() == 3
    assert await process.wait() == 3
    assert process.log.tail() == ("out", "err")
    assert not process.alive


async def test_a_signal_is_128_and_its_number(start: Start) -> None:
    assert await (await start("sh", "-c", "kill -SEGV $$")).wait() == 128 + signal.SIGSEGV


async def test_a_program_that_is_not_there(start: Start) -> None:
    process = await start("/nowhere/engine")
    assert await process.wait() == 127
    assert process.log.tail() == ("cannot start '/nowhere/engine': No such file or directory",)


async def test_it_reads_nothing_from_its_owner(start: Start) -> None:
    process = await start("sh", "-c", "read line; echo over")
    assert await process.wait() == 0
    assert process.log.tail() == ("over",)


async def test_stop_asks_first(start: Start) -> None:
    process = await started(start, POLITE)
    await process.stop()
    assert await process.wait() == 7
    assert process.log.tail() == ("up", "stopping")


async def test_stop_kills_what_does_not_listen(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "STOP_GRACE_S", 0.2)
    process = await started(start, STUBBORN)
    began = time.monotonic()
    await process.stop()
    assert await process.wait() == 128 + signal.SIGKILL
    assert time.monotonic() - began < PATIENCE_S / 2


async def test_a_stop_that_comes_before_the_program_is_heard(start: Start) -> None:
    for _ in range(5):
        process = await start(sys.executable, "-c", "import time; time.sleep(99)")
        await process.stop()
        assert await process.wait() == 128 + signal.SIGTERM


async def test_stop_may_be_asked_twice_and_after_the_end(start: Start) -> None:
    process = await started(start, POLITE)
    await asyncio.gather(process.stop(), process.stop())
    await process.stop()
    assert not process.alive


async def test_a_stopped_stop_stops_all_the_same(start: Start) -> None:
    process = await started(start, POLITE)
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not process.alive and gone(process.pid)


async def test_its_family_goes_with_it(start: Start) -> None:
    process = await started(start, FAMILY)
    family = family_of(process)
    assert not any(map(gone, family))
    await process.stop()
    assert all(map(gone, [*family, process.pid]))


async def test_its_family_goes_when_it_exits(start: Start) -> None:
    process = await started(start, FAMILY)
    engine, *others = family_of(process)
    os.kill(engine, signal.SIGKILL)
    assert await process.wait() == 128 + signal.SIGKILL
    assert all(map(gone, others))


async def test_a_killed_guard_takes_the_engine_along(start: Start) -> None:
    process = await started(start, FAMILY)
    engine, *others = family_of(process)
    try:
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == 128 + signal.SIGKILL
        await until(lambda: gone(engine))
    finally:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", OWNER, str(tmp_path / "engine.log"), FAMILY]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 4 and not any(map(gone, pids))
        owner.kill()
    wait_until(lambda: all(map(gone, pids)))


async def test_the_cleanup_runs_in_the_end(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "clean"
    process = await started(start, POLITE, cleanup=("touch", str(mark)))
    assert not mark.exists()
    await process.stop()
    assert mark.exists()


async def test_the_cleanup_runs_after_a_crash(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "clean"
    assert await (await start("sh", "-c", "exit 9", cleanup=("touch", str(mark)))).wait() == 9
    assert mark.exists()


async def test_no_zombies_and_no_open_files_are_left(start: Start) -> None:
    async def once() -> None:
        process = await start("sh", "-c", "echo hello")
        await process.wait()
        await process.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    await once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await once()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
