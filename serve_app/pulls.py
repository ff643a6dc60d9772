"""Pulls that are done before a slot has a place, so that what others use is not taken away for a download."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from providers.spec import SlotSpec
from serve_app.models import ModelStore, ModelUnavailable, PullCancelled, PullProgress
from serve_app.progress import Progress, of_bytes

AT_ONCE = 4
"""Further pulls wait for their turn."""


class PullListener(Protocol):
    """Called on the event loop."""

    def pull_progress(self, slot: str, progress: Progress) -> None: ...
    def pull_ended(self, slot: str, failure: ModelUnavailable | None) -> None: ...


@dataclass(slots=True)
class Pulls:
    """At most one pull for each slot. Files that slots share are the store's concern."""

    store: ModelStore
    listener: PullListener
    _running: dict[str, Event] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE, "pull"))

    def begin(self, slot: SlotSpec) -> None:
        if slot.name in self._running:
            return
        self._running[slot.name] = Event()
        task = asyncio.create_task(self._pull(slot, self._running[slot.name]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, slot: str) -> None:
        """What has come stays for the next pull. The listener is not told of the end."""
        if (cancelled := self._running.pop(slot, None)) is not None:
            cancelled.set()

    def close(self) -> None:
        for slot in tuple(self._running):
            self.cancel(slot)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _pull(self, slot: SlotSpec, cancelled: Event) -> None:
        failure = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._fetch, slot, cancelled, self._teller(slot.name, cancelled)
        )
        if not cancelled.is_set():
            del self._running[slot.name]
            self.listener.pull_ended(slot.name, failure)

    def _fetch(self, slot: SlotSpec, cancelled: Event, tell: Callable[[PullProgress], None]) -> ModelUnavailable | None:
        try:
            self.store.fetch(slot, tell, cancelled)
        except PullCancelled:
            return None
        except ModelUnavailable as unavailable:
            return unavailable
        except Exception as error:
            return ModelUnavailable("pull_failed", f"{type(error).__name__}: {error}")
        return None

    def _teller(self, slot: str, cancelled: Event) -> Callable[[PullProgress], None]:
        loop = asyncio.get_running_loop()

        def heard(pull: PullProgress) -> None:
            if not cancelled.is_set():
                progress = of_bytes(pull.bytes_done, pull.bytes_total, pull.bytes_per_second, pull.eta_seconds)
                self.listener.pull_progress(slot, progress)

        def tell(pull: PullProgress) -> None:
            loop.call_soon_threadsafe(heard, pull)

        return tell
