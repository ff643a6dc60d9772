"""Reports from a replica or an ingress to the board: in order, and never in anyone's way."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

logger = logging.getLogger("hal0.mailbox")

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Sends items one after the other; one that fails is dropped, since everything is told again from time to time."""

    def __init__(self, send: Callable[[Item], Awaitable[object]]) -> None:
        self._send = send
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def post(self, item: Item) -> None:
        self._queue.put_nowait(item)

    async def flush(self) -> None:
        """Until everything posted so far is sent."""
        await self._queue.join()

    async def _run(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._send(item)
            except Exception as error:
                logger.warning("the board did not take a report: %s", error)
            finally:
                self._queue.task_done()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Send what is waiting, but not for longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), timeout_s)
        self._task.cancel()
        await asyncio.wait([self._task])
