"""An engine that gives up its device's memory while its slot is idle, and takes it back when somebody asks."""

import asyncio
from collections.abc import Awaitable, Callable

from serve_app.gate import Gate

QUIET_S = 1.0
"""Since a client last sent something to an engine that is to sleep: the board may not have heard of it yet."""

Step = Callable[[], Awaitable[None]]


class Sleeper:
    """Behind one gate. `tell` hears whether it sleeps; `condemn` why it is of no use any more: it can neither sleep nor
    wake."""

    def __init__(
        self,
        gate: Gate,
        sleep: Step,
        wake: Step,
        tell: Callable[[bool], None],
        condemn: Callable[[str], Awaitable[None]],
    ) -> None:
        self._gate, self._sleep, self._wake = gate, sleep, wake
        self._tell, self._condemn = tell, condemn
        self._turn = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        gate.knocked = self._knocked

    async def fall_asleep(self) -> None:
        """Unless it sleeps, or a client has just sent something."""
        async with self._turn:
            if self._gate.is_shut or not self._gate.shut(QUIET_S):
                return
            try:
                await self._sleep()
            except Exception as error:
                return await self._condemn(f"it did not fall asleep: {error}")
            self._tell(True)

    def close(self) -> None:
        if self._waking is not None:
            self._waking.cancel()

    def _knocked(self) -> None:
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wake_up())

    async def _wake_up(self) -> None:
        async with self._turn:
            if not self._gate.is_shut:
                return
            try:
                await self._wake()
            except Exception as error:
                return await self._condemn(f"it did not wake up: {error}")
            self._gate.open()
            self._tell(False)
