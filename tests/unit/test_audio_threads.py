"""Work beside the event loop, and callers that leave."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from serve_app.audio.threads import in_thread


@pytest.mark.parametrize("fails", [False, True])
async def test_a_caller_that_leaves_waits_and_hears_of_no_failure(fails: bool) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    begun, told, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert told.wait(20)
        ended.set()
        if fails:
            raise ValueError("too late")

    caller = asyncio.create_task(in_thread(work, told.set))
    assert await asyncio.to_thread(begun.wait, 20)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
    del caller
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_caller_that_stays_hears_of_it() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
