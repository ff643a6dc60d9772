"""An ingress's reports to the board of who is asked for."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from serve_app.leases import LeasePool
from serve_app.news import Traffic

logger = logging.getLogger("hal0.traffic")

TELL_S = 0.05
"""At most so often the board is told."""
LOOK_S = 0.25
"""At least so often the numbers are looked at: not every change of them wakes the reporter."""
TELL_ALL_S = 5.0
"""So often everything is told, for a board that was restarted."""


class TrafficReporter:
    """Tells what has changed, soon when requests begin or end to wait."""

    def __init__(self, send: Callable[[dict[str, Traffic]], Awaitable[object]]) -> None:
        self._send = send
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self, pools: Mapping[str, LeasePool]) -> None:
        loop = asyncio.get_running_loop()
        told: dict[str, Traffic] = {}
        told_all = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            self._woken.clear()
            if loop.time() - told_all >= TELL_ALL_S:
                told, told_all = {}, loop.time()
            traffic = {name: pool.traffic for name, pool in pools.items()}
            changed = {name: report for name, report in traffic.items() if told.get(name) != report}
            if changed:
                try:
                    await self._send(changed)
                    told |= changed
                except Exception as error:
                    logger.info("the board did not take a report: %s", error)
                await asyncio.sleep(TELL_S)
