"""Pulls beside an event loop, and those that are done before a slot has a place, so that what others use is not taken
away for a download."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from providers.base import ModelFiles
from providers.pulling import ModelUnavailable, PullProgress
from providers.spec import SlotSpec
from serve_app.background import retrieve
from serve_app.models import ModelStore
from serve_app.progress import Progress, of_bytes

AT_ONCE = 4
"""Further pulls wait for their turn."""


async def pulled(
    store: ModelStore, slot: SlotSpec, show: Callable[[Progress], None], threads: Executor | None = None
) -> ModelFiles:
    """The slot's files, fetched in a thread; `show` is called on the event loop. Cancelling it stops the pull; what has
    come stays for the next. Raises `ModelUnavailable`."""
    loop, cancelled = asyncio.get_running_loop(), Event()

    def heard(pull: PullProgress) -> None:
        if not cancelled.is_set():
            show(of_bytes(pull.bytes_done, pull.bytes_total, pull.bytes_per_second, pull.eta_seconds))

    def tell(pull: PullProgress) -> None:
        loop.call_soon_threadsafe(heard, pull)

    fetching = loop.run_in_executor(threads, store.fetch, slot, tell, cancelled)
    fetching.add_done_callback(retrieve)
    try:
        return await asyncio.shield(fetching)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([fetching])
        raise


class PullListener(Protocol):
    """Called on the event loop."""

    def pull_progress(self, slot: str, progress: Progress) -> None: ...
    def pull_ended(self, slot: str, failure: ModelUnavailable | None) -> None: ...


@dataclass(slots=True)
class Pulls:
    """At most one pull for each slot. Files that slots share are the store's concern."""

    store: ModelStore
    listener: PullListener
    _running: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    """Those that run, and those that were cancelled and are ending."""
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE, "pull"))

    def begin(self, slot: SlotSpec) -> None:
        if slot.name in self._running:
            return
        task = asyncio.create_task(self._pull(slot))
        self._running[slot.name] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, slot: str) -> None:
        """The listener is not told of the end."""
        if (task := self._running.pop(slot, None)) is not None:
            task.cancel()

    def close(self) -> None:
        for slot in tuple(self._running):
            self.cancel(slot)
        self._threads.shutdown(wait=False)

    async def _pull(self, slot: SlotSpec) -> None:
        failure: ModelUnavailable | None = None
        try:
            await pulled(
                self.store, slot, lambda progress: self.listener.pull_progress(slot.name, progress), self._threads
            )
        except ModelUnavailable as unavailable:
            failure = unavailable
        except Exception as error:
            failure = ModelUnavailable("pull_failed", f"{type(error).__name__}: {error}")
        del self._running[slot.name]
        self.listener.pull_ended(slot.name, failure)
