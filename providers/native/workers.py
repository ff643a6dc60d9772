"""The threads that compute for all clients of a server."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Jobs are begun in the order of their coming. One that has begun cannot be stopped, only waited for."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._jobs: set[asyncio.Future[object]] = set()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """On the event loop."""
        loop = asyncio.get_running_loop()
        job = self._pool.submit(function, *args, **kwargs)
        # Whoever waits may be cancelled, which does not end the job: it is waited for beside.
        done = loop.create_future()
        self._jobs.add(done)
        done.add_done_callback(self._jobs.discard)
        job.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(_settle, done))
        return job

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    async def idle(self, timeout_s: float) -> bool:
        """Whether every job has ended, those that follow meanwhile included."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._jobs:
                    await asyncio.wait(self._jobs)
        except TimeoutError:
            return False
        return True

    def close(self, wait: bool) -> None:
        self._pool.shutdown(wait=wait, cancel_futures=True)


def _settle(done: "asyncio.Future[object]") -> None:
    if not done.done():
        done.set_result(None)
