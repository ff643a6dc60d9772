"""Blocking work beside the event loop that never outlives its caller."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], abandon: Callable[[], None] = lambda: None) -> T:
    """What `work` returns. Whoever is cancelled here waits until the thread is done, so that what it works on can then
    be closed; `abandon` is called at once to tell it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        abandon()
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody is left to hear of it; else asyncio complains
        raise
