"""Work that goes on beside requests for as long as its process lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("hal0.background")


async def repeatedly(step: Callable[[], Awaitable[object]], every_s: float) -> None:
    """Until it is cancelled. A step that fails is logged, and the next one comes all the same."""
    while True:
        try:
            await step()
        except Exception:
            logger.exception("%s failed", getattr(step, "__qualname__", step))
        await asyncio.sleep(every_s)
