"""A native engine inside its slot's actor, to be held like an engine's process."""

import asyncio
import logging
import os

from providers.base import NativeEngine
from serve_app.background import to_the_end
from serve_app.engine_log import EngineLog

LOGGER = logging.getLogger("hal0")
"""Native engines log below it."""


class NativeProcess:
    """Owned by one event loop. It ends only when it is stopped: if the engine crashes, so does the actor."""

    verdict: str | None = None
    """Why it was ended, where its exit code does not tell."""

    def __init__(self, engine: NativeEngine, log: EngineLog) -> None:
        self._engine, self.log = engine, log
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._handler = _ToEngineLog(log)
        LOGGER.addHandler(self._handler)

    @classmethod
    async def start(cls, engine: NativeEngine, log: EngineLog) -> "NativeProcess":
        """Raises OSError if the engine cannot listen."""
        process = cls(engine, log)
        try:
            await engine.start()
        except BaseException:
            await process.stop()
            raise
        return process

    @property
    def pid(self) -> int:
        """The actor's own."""
        return os.getpid()

    @property
    def alive(self) -> bool:
        return not self._ended.done()

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Also when the caller is cancelled meanwhile."""
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        if not self.alive:
            return
        try:
            await self._engine.stop()
        finally:
            if self.alive:
                self._ended.set_result(0)
            LOGGER.removeHandler(self._handler)
            self.log.close()


class _ToEngineLog(logging.Handler):
    def __init__(self, log: EngineLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.feed((self.format(record) + "\n").encode())
