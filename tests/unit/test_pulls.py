"""Pulls ahead of a slot's place, on a store that the tests hold in their hands."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from providers.capabilities import Capability
from providers.pulling import ModelUnavailable, PullCancelled, PullProgress
from providers.spec import SlotSpec
from serve_app.progress import Progress
from serve_app.pulls import Pulls

PATIENCE_S = 5.0
SLOT = SlotSpec(name="chat", provider="llama.cpp", model="hf://a/b/c.gguf", capabilities=(Capability.CHAT,))


class Store:
    """Each fetch waits until it is told how it ends."""

    def __init__(self) -> None:
        self.fetches = 0
        self.go_on = threading.Event()
        self.failure: Exception | None = None

    def fetch(self, slot: SlotSpec, tell: Callable[[PullProgress], None], cancelled: threading.Event) -> None:
        self.fetches += 1
        tell(PullProgress(bytes_done=1, bytes_total=4, bytes_per_second=2.0, eta_seconds=1.5, file="c.gguf"))
        while not self.go_on.wait(0.01):
            if cancelled.is_set():
                raise PullCancelled
        if self.failure is not None:
            raise self.failure


class Listener:
    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.ends: list[ModelUnavailable | None] = []

    def pull_progress(self, slot: str, progress: Progress) -> None:
        self.progress.append(progress)

    def pull_ended(self, slot: str, failure: ModelUnavailable | None) -> None:
        self.ends.append(failure)


class Bench:
    def __init__(self) -> None:
        self.store, self.listener = Store(), Listener()
        self.pulls = Pulls(self.store, self.listener)  # type: ignore[arg-type]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.store.go_on.set()
    made.pulls.close()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


async def test_progress_and_end_are_told(bench: Bench) -> None:
    bench.pulls.begin(SLOT)
    await until(lambda: bench.listener.progress)
    assert bench.listener.progress == [Progress(0.25, 1, 4, 2.0, 1.5)]
    bench.store.go_on.set()
    await until(lambda: bench.listener.ends)
    assert bench.listener.ends == [None]


async def test_a_slot_is_pulled_once_at_a_time(bench: Bench) -> None:
    bench.pulls.begin(SLOT)
    bench.pulls.begin(SLOT)
    bench.store.go_on.set()
    await until(lambda: bench.listener.ends)
    assert bench.store.fetches == 1
    bench.pulls.begin(SLOT)
    await until(lambda: len(bench.listener.ends) == 2)
    assert bench.store.fetches == 2


@pytest.mark.parametrize(
    ("failure", "code"),
    [(ModelUnavailable("model_gated", "accept its terms"), "model_gated"), (RuntimeError("odd"), "pull_failed")],
)
async def test_a_failure_is_told(bench: Bench, failure: Exception, code: str) -> None:
    bench.store.failure = failure
    bench.store.go_on.set()
    bench.pulls.begin(SLOT)
    await until(lambda: bench.listener.ends)
    assert [end.code for end in bench.listener.ends if end] == [code]


async def test_a_cancelled_pull_ends_without_a_word(bench: Bench) -> None:
    bench.pulls.begin(SLOT)
    await until(lambda: bench.listener.progress)
    bench.pulls.cancel(SLOT.name)
    bench.pulls.cancel(SLOT.name)
    await until(lambda: not bench.pulls._tasks)
    assert bench.listener.ends == []
    bench.store.go_on.set()
    bench.pulls.begin(SLOT)
    await until(lambda: bench.listener.ends)
    assert bench.listener.ends == [None], "it can be begun again"
