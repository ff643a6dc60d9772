"""Leases, with a stand-in for the streaming call that Serve makes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.base import Endpoint
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.errors import EngineDied, LoadFailed, SlotUnplaceable
from serve_app.leases import LeasePool
from serve_app.slot import Granted

FAILURE = LoadFailed("chat", "engine_exited", "bad model")


class Call:
    """One lease call: granted by `grant`, ended by `fail`, given back by `cancel`."""

    def __init__(self, replica: str, capacity: int) -> None:
        self._granted = Granted(replica, Endpoint("http://127.0.0.1:1", "key"), capacity)
        self._items: asyncio.Queue[Granted | BaseException] = asyncio.Queue()
        self.cancelled = False

    def grant(self) -> None:
        self._items.put_nowait(self._granted)

    def fail(self, error: BaseException) -> None:
        self._items.put_nowait(error)

    def cancel(self) -> None:
        self.cancelled = True
        self.fail(RuntimeError("cancelled"))

    async def __aiter__(self) -> AsyncIterator[Granted]:
        while True:
            item = await self._items.get()
            if isinstance(item, BaseException):
                raise item
            yield item


class Slot:
    """A slot whose every lease call is kept for the test to answer."""

    def __init__(self, **spec: Any) -> None:
        given: dict[str, Any] = {"name": "chat", "provider": "x", "model": "m", "capabilities": (Capability.CHAT,)}
        self.advice: str | None = None
        self.calls: list[Call] = []
        self.spec = SlotSpec(**(given | {"parallel_requests": 1} | spec))
        self.pool = LeasePool(self.spec, self._open, self._advice)

    def _open(self) -> Call:
        self.calls.append(Call(f"r{len(self.calls)}", self.spec.parallel_requests))
        return self.calls[-1]

    async def _advice(self, _: SlotSpec) -> str | None:
        return self.advice


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def use(pool: LeasePool, done: asyncio.Event) -> str:
    async with pool.use() as lease:
        await done.wait()
        return lease.granted.replica


async def test_one_call_serves_all_who_wait() -> None:
    slot, done = Slot(parallel_requests=9), asyncio.Event()
    waiters = [asyncio.create_task(use(slot.pool, done)) for _ in range(5)]
    await settle()
    assert (len(slot.calls), slot.pool.traffic.queued) == (1, 5)
    slot.calls[0].grant()
    await settle()
    assert slot.pool.traffic.in_flight == 5
    done.set()
    assert await asyncio.gather(*waiters) == ["r0"] * 5
    assert (slot.pool.traffic.in_flight, slot.pool.traffic.answered) == (0, 5)
    await slot.pool.close()


async def test_a_failed_load_reaches_everybody_and_the_next_one_asks_again() -> None:
    slot = Slot()
    waiters = [asyncio.create_task(use(slot.pool, asyncio.Event())) for _ in range(3)]
    await settle()
    slot.calls[0].fail(FAILURE)
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert results == [FAILURE] * 3
    again = asyncio.create_task(use(slot.pool, asyncio.Event()))
    await settle()
    assert len(slot.calls) == 2
    again.cancel()
    await slot.pool.close()


async def test_a_client_that_leaves_does_not_stop_the_load() -> None:
    slot, done = Slot(), asyncio.Event()
    first = asyncio.create_task(use(slot.pool, done))
    await settle()
    first.cancel()
    await settle()
    assert slot.pool.traffic.queued == 0 and not slot.calls[0].cancelled
    slot.calls[0].grant()
    await settle()
    done.set()
    assert await use(slot.pool, done) == "r0"
    assert len(slot.calls) == 1
    await slot.pool.close()


async def test_full_leases_bring_a_second_replica_and_no_third() -> None:
    slot, done = Slot(max_replicas=2), asyncio.Event()
    first = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await settle()
    second = asyncio.create_task(use(slot.pool, done))
    await settle()
    assert len(slot.calls) == 2 and slot.pool.traffic.queued == 1
    slot.calls[1].grant()
    await settle()
    third = asyncio.create_task(use(slot.pool, done))
    await settle()
    assert len(slot.calls) == 2 and slot.pool.traffic.in_flight == 3
    done.set()
    assert sorted(await asyncio.gather(first, second, third))[:2] in (["r0", "r0"], ["r0", "r1"])
    await slot.pool.close()


async def test_room_on_an_old_lease_is_taken_when_it_comes_first() -> None:
    slot, done = Slot(max_replicas=2), asyncio.Event()
    first = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await settle()
    second = asyncio.create_task(use(slot.pool, done))
    await settle()
    done.set()
    assert list(await asyncio.gather(first, second)) == ["r0", "r0"]
    await slot.pool.close()


async def test_a_further_replica_that_fails_is_no_failure() -> None:
    slot, done = Slot(max_replicas=2), asyncio.Event()
    first = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await settle()
    second = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[1].fail(FAILURE)
    await settle()
    assert slot.pool.traffic.in_flight == 2
    done.set()
    assert list(await asyncio.gather(first, second)) == ["r0", "r0"]
    await slot.pool.close()


async def test_a_lease_on_a_replica_that_is_stopped_finishes_its_requests_first() -> None:
    slot, done = Slot(), asyncio.Event()
    request = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await settle()
    slot.pool.replicas_changed(frozenset())
    assert not slot.calls[0].cancelled
    done.set()
    await request
    assert slot.calls[0].cancelled
    await slot.pool.close()


async def test_an_unused_lease_is_given_back_after_the_linger_time() -> None:
    slot, done = Slot(idle_after_s=10), asyncio.Event()
    done.set()
    request = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await request
    now = asyncio.get_running_loop().time()
    slot.pool.sweep(now + 9)
    assert not slot.calls[0].cancelled
    slot.pool.sweep(now + 11)
    assert slot.calls[0].cancelled
    await slot.pool.close()


async def test_a_slot_that_unloads_at_once_keeps_no_lease() -> None:
    slot, done = Slot(unload_after_s=0), asyncio.Event()
    done.set()
    request = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await request
    assert slot.calls[0].cancelled
    await slot.pool.close()


async def test_a_lost_lease_is_not_used_again() -> None:
    slot, done = Slot(), asyncio.Event()
    done.set()
    request = asyncio.create_task(use(slot.pool, done))
    await settle()
    slot.calls[0].grant()
    await request
    slot.calls[0].fail(EngineDied("chat", "gone"))
    await settle()
    again = asyncio.create_task(use(slot.pool, done))
    await settle()
    assert len(slot.calls) == 2
    slot.calls[1].grant()
    assert await again == "r1"
    await slot.pool.close()


async def test_a_slot_that_fits_on_no_node_is_said_and_its_call_taken_back() -> None:
    slot = Slot()
    slot.advice = "it needs npu: 1"
    with pytest.raises(SlotUnplaceable, match="npu: 1"):
        await use(slot.pool, asyncio.Event())
    assert slot.calls[0].cancelled
