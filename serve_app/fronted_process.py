"""An engine's process and the front before it, to be held like one process."""

import asyncio

from providers.base import EngineFront
from serve_app.engine_process import EngineProcess
from serve_app.native_process import NativeProcess


class FrontedProcess:
    """Owned by one event loop. Its `wait` ends with the process, or once the front has found that broken: a verdict."""

    def __init__(self, process: EngineProcess, front: EngineFront, started: NativeProcess) -> None:
        self._process, self._started = process, started
        self.log = process.log
        self.verdict: str | None = None
        self._judging = asyncio.create_task(self._judge(front))

    @classmethod
    async def start(cls, process: EngineProcess, front: EngineFront) -> "FrontedProcess":
        """Owns the process from now on: it is stopped if this fails. Raises OSError if the front cannot listen."""
        try:
            return cls(process, front, await NativeProcess.start(front, process.log))
        except BaseException:
            await process.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.alive

    async def wait(self) -> int:
        """The exit code, which means nothing where there is a verdict."""
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([ended, self._judging], return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else 0
        finally:
            ended.cancel()

    async def stop(self) -> None:
        """Also when the caller is cancelled meanwhile."""
        self._judging.cancel()
        try:
            await self._started.stop()
        finally:
            await self._process.stop()

    async def _judge(self, front: EngineFront) -> None:
        self.verdict = await front.broken()
        self.log.feed(f"hal0: {self.verdict}: it is stopped\n".encode())
