"""The leases of one ingress on one slot, on calls that the tests answer themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from providers.base import Endpoint
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app import leases
from serve_app.errors import EngineDied, LoadFailed, ServingError, SlotUnplaceable
from serve_app.leases import Lease, LeasePool
from serve_app.slot import Granted

PATIENCE_S = 5.0


class Call:
    """A streaming call: items and errors come when the test says so."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Granted | Exception] = asyncio.Queue()
        self.cancelled = False

    def __aiter__(self) -> AsyncIterator[Granted]:
        return self._stream()

    async def _stream(self) -> AsyncIterator[Granted]:
        while True:
            item = await self.items.get()
            if isinstance(item, StopAsyncIteration):
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def cancel(self) -> None:
        self.cancelled = True
        self.items.put_nowait(RuntimeError("cancelled"))

    def grant(self, replica: str = "r1", capacity: int = 2) -> None:
        self.items.put_nowait(Granted(replica, Endpoint("http://127.0.0.1:1", "token"), capacity))


class Slot:
    """A pool and the calls that it has opened."""

    def __init__(self, **more: Any) -> None:
        self.calls: list[Call] = []
        self.advice: str | None = None
        spec = SlotSpec(name="chat", provider="llama.cpp", model="m", capabilities=(Capability.CHAT,), **more)
        self.pool = LeasePool(spec, self._open, self._advise)

    def _open(self) -> Call:
        self.calls.append(Call())
        return self.calls[-1]

    async def _advise(self, _: SlotSpec) -> str | None:
        return self.advice

    async def use(self, stack: AsyncExitStack) -> Lease:
        return await stack.enter_async_context(self.pool.use())

    async def loaded(self, stack: AsyncExitStack, capacity: int = 2) -> Lease:
        """The first request, on replica r1."""
        using = asyncio.create_task(self.use(stack))
        await until(lambda: len(self.calls) == 1)
        self.calls[0].grant(capacity=capacity)
        return await using


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0)


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def test_one_opening_serves_all_who_wait(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = [asyncio.create_task(slot.use(stack)) for _ in range(2)]
    await settled()
    assert (len(slot.calls), slot.pool.traffic.queued) == (1, 2)
    slot.calls[0].grant()
    first, second = await asyncio.gather(*waiting)
    assert first is second
    assert (first.in_flight, slot.pool.traffic.in_flight, slot.pool.traffic.queued) == (2, 2, 0)
    assert first.endpoint.token == "token"


async def test_a_waiter_that_leaves_does_not_stop_the_opening(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert slot.pool.queued == 0 and not slot.calls[0].cancelled
    slot.calls[0].grant()
    await settled()
    await slot.use(stack)
    assert len(slot.calls) == 1


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (LoadFailed("chat", "engine_exited", "it fell"), LoadFailed, "engine_exited"),
        (RuntimeError("odd"), LoadFailed, "load_failed"),
        (type("ActorDiedError", (Exception,), {})("gone"), EngineDied, "engine_died"),
        (StopAsyncIteration(), EngineDied, "engine_died"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_error_reaches_every_waiter(
    stack: AsyncExitStack, error: Exception, expected: type[ServingError], code: str
) -> None:
    slot = Slot()
    waiting = [asyncio.create_task(slot.use(stack)) for _ in range(3)]
    await settled()
    slot.calls[0].items.put_nowait(error)
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, expected)
        assert answer.code == code
    assert (slot.pool.queued, slot.calls[0].cancelled) == (0, True)


async def test_the_next_request_tries_again(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[0].items.put_nowait(LoadFailed("chat", "engine_exited", "it fell"))
    await asyncio.wait([waiting])
    assert waiting.exception() is not None
    again = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[1].grant()
    assert (await again).granted.replica == "r1"


async def test_an_error_wrapped_by_ray_is_its_cause(stack: AsyncExitStack) -> None:
    slot = Slot()
    wrapped = RuntimeError("RayTaskError")
    wrapped.cause = LoadFailed("chat", "load_timeout", "slow")  # type: ignore[attr-defined]
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[0].items.put_nowait(wrapped)
    with pytest.raises(LoadFailed, match="slow"):
        await waiting


async def test_a_slot_that_fits_nowhere_is_given_up(monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack) -> None:
    monkeypatch.setattr(leases, "PLACEMENT_CHECK_S", 0.01)
    slot = Slot()
    slot.advice = "it needs npu: 1"
    with pytest.raises(SlotUnplaceable, match="it needs npu: 1"):
        await slot.use(stack)
    assert slot.calls[0].cancelled


async def test_a_slow_load_is_waited_for(monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack) -> None:
    monkeypatch.setattr(leases, "PLACEMENT_CHECK_S", 0.001)
    slot = Slot()
    checks = 0

    async def advise(_: SlotSpec) -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            slot.calls[0].grant()

    monkeypatch.setattr(slot.pool, "_advice", advise)
    await slot.use(stack)
    assert checks == 3


async def test_at_the_ceiling_the_engine_queues(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=1)
    first = await slot.loaded(stack, capacity=1)
    assert await slot.use(stack) is first
    assert (first.in_flight, len(slot.calls)) == (2, 1)


async def test_a_full_lease_asks_for_another_replica(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    first = await slot.loaded(stack, capacity=1)
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    assert len(slot.calls) == 2 and not waiting.done()
    slot.calls[1].grant("r2", 1)
    second = await waiting
    assert second is not first and second.granted.replica == "r2"
    await slot.use(stack)
    assert len(slot.calls) == 2


async def test_room_on_an_old_lease_is_taken_before_the_new_one_comes(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        first = await slot.loaded(early, capacity=1)
        waiting = asyncio.create_task(slot.use(stack))
        await settled()
        assert not waiting.done()
    assert await waiting is first
    assert not slot.calls[1].cancelled


async def test_an_old_lease_serves_where_no_further_replica_can_be_had(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    first = await slot.loaded(stack, capacity=1)
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[1].items.put_nowait(LoadFailed("chat", "engine_exited", "no memory"))
    assert await waiting is first


async def test_a_lease_lost_while_waiting_is_not_used(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    await slot.loaded(stack, capacity=1)
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[0].items.put_nowait(EngineDied("chat", "it fell"))
    await settled()
    slot.calls[1].items.put_nowait(LoadFailed("chat", "engine_exited", "no memory"))
    await until(lambda: len(slot.calls) == 3)
    slot.calls[2].grant("r3")
    assert (await waiting).granted.replica == "r3"


async def test_a_revoked_lease_is_given_back_when_its_requests_are_done(stack: AsyncExitStack) -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        first = await slot.loaded(early)
        slot.pool.replicas_changed(frozenset({"r2"}))
        assert first.revoked and not slot.calls[0].cancelled
        waiting = asyncio.create_task(slot.use(stack))
        await settled()
        assert (len(slot.calls), waiting.done()) == (2, False)
    assert slot.calls[0].cancelled
    slot.calls[1].grant("r2")
    assert (await waiting).granted.replica == "r2"


async def test_running_replicas_keep_their_leases(stack: AsyncExitStack) -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        await slot.loaded(early)
    slot.pool.replicas_changed(frozenset({"r1", "r2"}))
    assert not slot.calls[0].cancelled
    slot.pool.replicas_changed(frozenset({"r2"}))
    assert slot.calls[0].cancelled


async def test_a_lease_lingers_and_is_swept(stack: AsyncExitStack) -> None:
    slot = Slot(idle_after_s=10, unload_after_s=300)
    async with AsyncExitStack() as early:
        lease = await slot.loaded(early)
        slot.pool.sweep(lease.unused_since + 1000)
        assert not slot.calls[0].cancelled
    slot.pool.sweep(lease.unused_since + 9.9)
    assert not slot.calls[0].cancelled
    slot.pool.sweep(lease.unused_since + 10)
    assert slot.calls[0].cancelled
    traffic = slot.pool.traffic
    assert (traffic.in_flight, traffic.answered) == (0, 1) and traffic.last_used is not None


async def test_a_slot_that_unloads_at_once_has_its_lease_back_at_once() -> None:
    slot = Slot(unload_after_s=0)
    async with AsyncExitStack() as early:
        await slot.loaded(early)
        assert not slot.calls[0].cancelled
    assert slot.calls[0].cancelled


async def test_a_lost_lease_says_why_and_is_not_used_again(stack: AsyncExitStack) -> None:
    slot = Slot()
    first = await slot.loaded(stack)
    slot.calls[0].items.put_nowait(EngineDied("chat", "it fell"))
    await until(lambda: first.lost is not None)
    assert first.revoked and isinstance(first.lost, EngineDied)
    waiting = asyncio.create_task(slot.use(stack))
    await settled()
    slot.calls[1].grant("r2")
    assert await waiting is not first


async def test_closing_gives_everything_back() -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        await slot.loaded(early, capacity=1)
        waiting = asyncio.create_task(slot.use(early))
        await settled()
        await slot.pool.close()
        await asyncio.wait([waiting])
    assert [call.cancelled for call in slot.calls] == [True, True]
