"""One engine process under its guard: start, watch, stop. It never outlives the process that started it."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Mapping

from providers.base import Command
from providers.guarding import guarded
from serve_app.background import to_the_end
from serve_app.engine_log import EngineLog

STOP_GRACE_S = 5.0
KILL_GRACE_S = 3.0
PIPE_BYTES = 1024 * 1024
READ_PAUSE_S = 0.05
"""Between two looks at what the engine has written. An engine may write several lines for each request: to be woken by
each of them costs the replica, and the engine, a tenth of a core."""


class EngineProcess:
    """Owned by one event loop. `wait` answers the exit code as often as it is asked."""

    verdict: str | None = None
    """Why it was ended, where its exit code does not tell."""

    def __init__(self, popen: subprocess.Popen[bytes], log: EngineLog) -> None:
        self._popen = popen
        self.log = log
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pump = asyncio.create_task(self._pump_output())
        self._watch_exit()

    @classmethod
    async def start(cls, command: Command, env: Mapping[str, str], log: EngineLog) -> "EngineProcess":
        """Raises OSError if not even the guard can start; an engine that cannot start exits with 127."""
        # asyncio's own subprocesses depend on the loop's child watcher, which Ray's loops do not promise.
        popen = subprocess.Popen(  # noqa: ASYNC220
            guarded(command.argv, signal.SIGTERM, STOP_GRACE_S, command.cleanup),
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(popen, log)

    @property
    def pid(self) -> int:
        """The guard's pid; the engine is its child."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return not self._exited.done()

    async def wait(self) -> int:
        """Exit code; 128 + n if signal n killed the engine."""
        code = await asyncio.shield(self._exited)
        await asyncio.wait([self._pump], timeout=1)
        return code

    async def stop(self) -> None:
        """Ask, wait a bounded time, kill the group, reap; also when the caller is cancelled meanwhile."""
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        if self.alive:
            self._close_stdin()
            await asyncio.wait([self._exited], timeout=STOP_GRACE_S + KILL_GRACE_S)
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            await self._exited
        await asyncio.wait([self._pump], timeout=1)
        self._pump.cancel()
        self.log.close()

    def _close_stdin(self) -> None:
        if self._popen.stdin:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self.pid)

        def exited() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            code = self._popen.wait()
            self._close_stdin()
            if not self._exited.done():
                self._exited.set_result(code if code >= 0 else 128 - code)

        loop.add_reader(pidfd, exited)

    async def _pump_output(self) -> None:
        assert self._popen.stdout is not None
        pipe = self._popen.stdout.fileno()
        os.set_blocking(pipe, False)
        with contextlib.suppress(OSError):  # the system's limit for pipes is used up
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            while data := await read_some(pipe):
                self.log.feed(data)
                await asyncio.sleep(READ_PAUSE_S)
        finally:
            self._popen.stdout.close()


async def read_some(pipe: int) -> bytes:
    """All that is there; waits if that is nothing. Empty at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(pipe, PIPE_BYTES)
        except BlockingIOError:
            readable = loop.create_future()
            loop.add_reader(pipe, resolve, readable)
            try:
                await readable
            finally:
                loop.remove_reader(pipe)


def resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
