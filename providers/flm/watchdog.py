"""The verdict on an engine that is up and of no use."""

import asyncio
from collections.abc import Callable

LOST_S = 2.0
"""After a connection broke, for a dying process to end, or for a living one to answer again."""


class Watchdog:
    """On one event loop. `condemned` is told the reason, once."""

    def __init__(self, condemned: Callable[[str], None]) -> None:
        self._condemned = condemned
        self._known = asyncio.Event()
        self._reason: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def broken(self) -> str:
        await self._known.wait()
        assert self._reason is not None
        return self._reason

    def condemn(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._known.set()
            self._condemned(reason)

    def lost(self, why: str) -> None:
        """Its connection broke. Most often its process has died, whose exit code says more."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOST_S, self.condemn, why)

    def answered(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    close = answered
