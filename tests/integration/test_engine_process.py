"""Engine processes under their guard: however their owner ends, nothing of them is left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from providers.base import Command
from serve_app import engine_process
from serve_app.engine_log import EngineLog
from serve_app.engine_process import EngineProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> EngineLog:
    return EngineLog(tmp_path / "engine.log", ("secret-token",))


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A number of seconds to sleep that no other process sleeps: processes are found by it."""
    return f"{5000 + int.from_bytes(os.urandom(3))}.{os.getpid()}"


def running(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", mark.encode()]:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def eventually(probe: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not probe():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


async def start(log: EngineLog, *argv: str, cleanup: tuple[str, ...] = ()) -> EngineProcess:
    return await EngineProcess.start(Command(argv, cleanup), os.environ, log)


async def until(probe: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(eventually, probe, what)


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        (("sh", "-c", "echo hello; exit 3"), 3, "hello"),
        (("sh", "-c", "echo my secret-token; exit 0"), 0, "my [masked]"),
        (("sh", "-c", "echo dying >&2; kill -9 $$"), 137, "dying"),
        (("/nonexistent/engine",), 127, "cannot start '/nonexistent/engine': No such file or directory"),
    ],
)
async def test_exit_code_and_output(log: EngineLog, argv: tuple[str, ...], code: int, line: str) -> None:
    process = await start(log, *argv)
    assert await process.wait() == code
    assert log.tail() == (line,)
    await process.stop()


async def test_stop_takes_the_whole_group_and_what_left_it(log: EngineLog, mark: str) -> None:
    script = f"setsid sleep {mark} & sleep {mark} & exec sleep {mark}"
    process = await start(log, "sh", "-c", script)
    await until(lambda: len(running(mark)) == 3, "three processes")
    await process.stop()
    assert not process.alive and running(mark) == []


async def test_an_engine_that_ignores_the_request_is_killed(
    log: EngineLog, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "STOP_GRACE_S", 0.3)
    process = await start(log, "sh", "-c", f"trap '' TERM; echo up; while true; do sleep {mark}; done")
    await until(lambda: log.tail() == ("up",), "the engine is up")
    await process.stop()
    assert await process.wait() == 137
    assert running(mark) == []


async def test_a_stop_that_is_cancelled_still_stops(log: EngineLog, mark: str) -> None:
    process = await start(log, "sleep", mark)
    await until(lambda: bool(running(mark)), "the engine")
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not process.alive and running(mark) == []


async def test_a_guard_that_is_killed_takes_its_engine_along(log: EngineLog, mark: str) -> None:
    process = await start(log, "sleep", mark)
    await until(lambda: bool(running(mark)), "the engine")
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == 137
    await until(lambda: not running(mark), "the engine is gone")
    await process.stop()


async def test_cleanup_runs_after_the_end(log: EngineLog, tmp_path: Path) -> None:
    process = await start(log, "true", cleanup=("touch", str(tmp_path / "cleaned")))
    assert await process.wait() == 0
    assert (tmp_path / "cleaned").exists()
    await process.stop()


async def test_nothing_is_held_after_many_lives(log: EngineLog) -> None:
    async def live() -> None:
        process = await start(log, "true")
        await process.wait()
        await process.stop()

    await live()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await live()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert zombie_children() == []


def zombie_children() -> list[str]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    states = {pid: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in children}
    return [pid for pid, state in states.items() if state == "Z"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_owner_that_is_killed_leaves_nothing(tmp_path: Path, mark: str, number: int) -> None:
    owner = (
        "import asyncio, os; from pathlib import Path; from providers.base import Command;"
        "from serve_app.engine_log import EngineLog; from serve_app.engine_process import EngineProcess\n"
        "async def main():\n"
        f"    log = EngineLog(Path({str(tmp_path / 'x.log')!r}))\n"
        f"    script = 'setsid sleep {mark} & sleep {mark}'\n"
        "    process = await EngineProcess.start(Command(('sh', '-c', script)), os.environ, log)\n"
        "    await process.wait()\n"
        "asyncio.run(main())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", owner], cwd=ROOT, stderr=subprocess.DEVNULL)
    eventually(lambda: len(running(mark)) == 2, "the engine and its child")
    child.send_signal(number)
    child.wait(20)
    eventually(lambda: running(mark) == [], "nothing is left")
