"""Reports to the board: in order, off the request path, repeated to a board that was restarted."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("hal0.attendance")

RETRY_S = 0.5


class Attendance:
    """Holds one call to the board open, so that the board notices when this process is gone.

    `attend` opens that call; `on_attended` runs each time the board (a new one, perhaps) has answered it.
    """

    def __init__(self, attend: Callable[[], Any], on_attended: Callable[[], None]) -> None:
        self._attend, self._on_attended = attend, on_attended
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                async for _ in self._attend():
                    self._on_attended()
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class Mailbox:
    """Sends items one after the other; a failed one is dropped, since a restarted board is told all anew."""

    def __init__(self, send: Callable[[Any], Any]) -> None:
        self._send = send
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def post(self, item: Any) -> None:
        self._queue.put_nowait(item)

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
            await asyncio.wait_for(self._queue.join(), timeout_s)
        self._task.cancel()
        await asyncio.wait([self._task])
