"""An engine's process and the front before it, to be held like one process."""

import asyncio

from providers.base import EngineFront
from serve_app.engine_process import EngineProcess
from serve_app.native_process import NativeProcess


class FrontedProcess:
    """Owned by one event loop. It has ended once the process has, which is stopped when the front finds it broken."""

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
        return await self._process.wait()

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
        await self._process.stop()
