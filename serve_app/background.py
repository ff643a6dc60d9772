"""Work that goes on beside requests for as long as its process lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

logger = logging.getLogger("hal0.background")


def retrieve(future: "asyncio.Future[Any]") -> None:
    """As a done callback: a failure nobody waits for is reported elsewhere; asyncio need not complain about it, too."""
    if not future.cancelled():
        future.exception()


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Also when the caller is cancelled meanwhile: that is told once the work is done."""
    working = asyncio.create_task(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise


async def repeatedly(step: Callable[[], Awaitable[object]], every_s: float) -> None:
    """Until it is cancelled. A step that fails is logged, and the next one comes all the same."""
    while True:
        try:
            await step()
        except Exception:
            logger.exception("%s failed", getattr(step, "__qualname__", step))
        await asyncio.sleep(every_s)
