"""Turns at the NPU: FLM crashes under two requests at once, and pauses for a third of a second between queued ones."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from providers.errors import EngineError, ProviderError

MOST_BRIEF = 8
"""Brief turns in a row, while a long one waits."""
MOST_WAITING = 256

Queue = deque[asyncio.Future[None]]


class Npu:
    """One turn at a time, on one event loop. Brief ones go before long ones, first come first served within a kind.

    `settle` is awaited after each turn, before the next one begins and without whoever had it; it must not raise. It is
    told whether the turn was cancelled, so that its request may not even have been read yet.
    """

    def __init__(self, settle: Callable[[bool], Awaitable[None]]) -> None:
        self._settle = settle
        self._brief: Queue = deque()
        self._long: Queue = deque()
        self._taken = False
        self._brief_in_a_row = 0
        self._settling: asyncio.Task[None] | None = None
        self._end: ProviderError | None = None

    @property
    def waiting(self) -> int:
        return len(self._brief) + len(self._long)

    @asynccontextmanager
    async def turn(self, brief: bool) -> AsyncIterator[None]:
        """Raises `EngineError` if too many wait, and what `end` was given once it was called."""
        await self._enter(self._brief if brief else self._long)
        cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            self._settling = asyncio.create_task(self._leave(cancelled))

    def end(self, reason: ProviderError) -> None:
        """No more turns: who waits is told, and who comes."""
        self._end = self._end or reason
        for turn in (*self._brief, *self._long):
            if not turn.done():
                turn.set_exception(reason)
        self._brief.clear()
        self._long.clear()

    async def close(self) -> None:
        """After `end`: nothing settles any more."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)

    async def _enter(self, queue: Queue) -> None:
        if self._end is not None:
            raise self._end
        if not self._taken:
            self._taken = True
            self._count(queue)
            return
        if self.waiting >= MOST_WAITING:
            message = f"{MOST_WAITING} requests wait for the NPU already; try again later."
            raise EngineError(503, message, "server_error", "slot_busy")
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    queue.remove(turn)
            elif turn.exception() is None:
                # Its turn had come in the same moment.
                self._next()
            raise

    async def _leave(self, cancelled: bool) -> None:
        try:
            if self._end is None:
                await self._settle(cancelled)
        finally:
            self._next()

    def _next(self) -> None:
        while queue := self._chosen():
            turn = queue.popleft()
            if not turn.done():
                self._count(queue)
                turn.set_result(None)
                return
        self._taken = False

    def _chosen(self) -> Queue:
        if self._long and (not self._brief or self._brief_in_a_row >= MOST_BRIEF):
            return self._long
        return self._brief

    def _count(self, queue: Queue) -> None:
        self._brief_in_a_row = self._brief_in_a_row + 1 if queue is self._brief else 0
