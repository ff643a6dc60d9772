"""Turns at the NPU: their order, their bound, and that none is lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from providers.errors import EngineError
from providers.flm.gone import EngineGone
from providers.flm.npu import MOST_BRIEF, MOST_WAITING, Npu


class Bench:
    """Turns by name, each held until it is let go."""

    def __init__(self) -> None:
        self.settled: list[bool] = []
        self.npu = Npu(self._settle)
        self.held: list[str] = []
        self.began: list[str] = []
        self.go = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def _settle(self, cancelled: bool) -> None:
        self.settled.append(cancelled)
        await self.gate.wait()

    async def come(self, *names: str) -> None:
        """Brief ones begin with a b."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._turn(name))
            await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]

    async def all(self) -> list[str]:
        """Who began, in order, when all have had their turn."""
        self.go.release()
        while not all(task.done() for task in self.tasks.values()):
            self.go.release()
            await asyncio.sleep(0)
        return self.began

    async def _turn(self, name: str) -> None:
        async with self.npu.turn(brief=name.startswith("b")):
            assert not self.held
            self.held.append(name)
            self.began.append(name)
            try:
                await self.go.acquire()
            finally:
                self.held.remove(name)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)
    made.npu.end(EngineGone("over"))
    await made.npu.close()


async def test_brief_ones_go_first_and_each_kind_in_order(bench: Bench) -> None:
    await bench.come("long", "long2", "b1", "long3", "b2")
    assert await bench.all() == ["long", "b1", "b2", "long2", "long3"]


async def test_a_long_one_has_its_turn_after_some_brief_ones(bench: Bench) -> None:
    briefs = [f"b{order}" for order in range(2 * MOST_BRIEF + 3)]
    await bench.come("long", *briefs, "long1", "long2")
    expected = ["long", *briefs[:MOST_BRIEF], "long1", *briefs[MOST_BRIEF : 2 * MOST_BRIEF], "long2"]
    assert await bench.all() == [*expected, *briefs[2 * MOST_BRIEF :]]


async def test_no_turn_begins_before_the_last_one_has_settled(bench: Bench) -> None:
    bench.gate.clear()
    await bench.come("long", "b1")
    bench.go.release()
    await asyncio.wait_for(bench.tasks["long"], 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.began == ["long"] and bench.settled == [False]
    bench.gate.set()
    assert await bench.all() == ["long", "b1"]


async def test_who_leaves_costs_nothing(bench: Bench) -> None:
    await bench.come("long", "b1", "b2", "long2")
    await bench.leave("b1")
    await bench.leave("long")
    assert await bench.all() == ["long", "b2", "long2"]
    assert bench.settled[:2] == [True, False] and bench.npu.waiting == 0


async def test_a_turn_that_comes_as_its_waiter_leaves_is_passed_on(bench: Bench) -> None:
    bench.gate.clear()
    await bench.come("long", "b1", "b2")
    bench.go.release()
    await bench.tasks["long"]
    while not bench.settled:
        await asyncio.sleep(0)
    # In the same step of the loop, the turn is given before its waiter is cancelled, which has not taken it yet.
    bench.gate.set()
    asyncio.get_running_loop().call_soon(bench.tasks["b1"].cancel)
    assert await bench.all() == ["long", "b2"]
    assert bench.tasks["b1"].cancelled()


async def test_too_many_are_refused(bench: Bench) -> None:
    await bench.come("long", *(f"b{order}" for order in range(MOST_WAITING)))
    assert bench.npu.waiting == MOST_WAITING
    with pytest.raises(EngineError) as refused:
        async with bench.npu.turn(brief=False):
            pass
    assert (refused.value.status, refused.value.code) == (503, "slot_busy")
    await bench.leave("b7")
    await bench.come("b256")
    assert len(await bench.all()) == MOST_WAITING + 1 and "b7" not in bench.began


async def test_at_the_end_all_are_told(bench: Bench) -> None:
    bench.gate.clear()
    await bench.come("long", "b1", "long2")
    bench.npu.end(EngineGone("it hangs"))
    for name in ("b1", "long2"):
        with pytest.raises(EngineGone, match="it hangs"):
            await bench.tasks[name]
    with pytest.raises(EngineGone, match="it hangs"):
        async with bench.npu.turn(brief=True):
            pass
    bench.go.release()
    await bench.tasks["long"]
    await asyncio.wait_for(bench.npu.close(), 10)


async def test_closing_does_not_wait_for_what_does_not_settle(bench: Bench) -> None:
    bench.gate.clear()
    await bench.come("long")
    await bench.leave("long")
    await bench.come("b1")
    bench.npu.end(EngineGone("over"))
    await asyncio.wait_for(bench.npu.close(), 10)
    with pytest.raises(EngineGone):
        await bench.tasks["b1"]


@pytest.mark.parametrize("seed", range(20))
async def test_no_turn_is_ever_lost(seed: int) -> None:
    """Whoever comes and goes whenever, each of those who stay has one, and no two at once."""
    chance = random.Random(seed)
    held = 0

    async def settle(cancelled: bool) -> None:
        await pause()

    async def pause() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    async def take(brief: bool) -> None:
        nonlocal held
        async with npu.turn(brief):
            held += 1
            assert held == 1
            try:
                await pause()
            finally:
                held -= 1

    npu = Npu(settle)
    tasks: list[asyncio.Task[None]] = []
    for _ in range(100):
        tasks.append(asyncio.create_task(take(chance.random() < 0.7)))
        await pause()
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
        async with npu.turn(brief=False):
            pass
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    npu.end(EngineGone("over"))
    await npu.close()
