"""The leases of one ingress on one slot, on calls that the tests answer themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pydantic import JsonValue

from providers.base import Endpoint
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app import leases
from serve_app.affinity_prompt import Prompt, prompt_of
from serve_app.errors import EngineDied, LoadFailed, QueueFull, ServingError
from serve_app.granted import Granted
from serve_app.leases import Lease, LeasePool

PATIENCE_S = 5.0
FELL = LoadFailed("chat", "engine_exited", "it fell")


class Call:
    """A streaming call: items and errors come when the test says so."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Granted | BaseException] = asyncio.Queue()
        self.cancelled = self.over = False
        self.replica: str | None = None

    def __aiter__(self) -> AsyncIterator[Granted]:
        return self._stream()

    async def _stream(self) -> AsyncIterator[Granted]:
        while True:
            item = await self.items.get()
            if isinstance(item, StopAsyncIteration):
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def let_go(self) -> None:
        self.over = True

    def cancel(self) -> None:
        self.cancelled = True
        self.let_go()
        self.items.put_nowait(RuntimeError("cancelled"))

    def grant(self, replica: str = "r1", capacity: int = 2) -> None:
        token = "token" if replica == "r1" else f"token of {replica}"
        self.items.put_nowait(Granted(replica, Endpoint("http://127.0.0.1:1", token), capacity))

    def fail(self, error: BaseException) -> None:
        self.items.put_nowait(error)


class Slot:
    """A pool and the calls that it has opened."""

    def __init__(self, **more: Any) -> None:
        self.suspects: list[str] = []
        self.calls: list[Call] = []
        self.changes = 0
        spec = SlotSpec(name="chat", provider="llama.cpp", model="m", capabilities=(Capability.CHAT,), **more)
        self.pool = LeasePool(spec, self._open, self._changed)

    def _open(self, suspect: str) -> Call:
        self.suspects.append(suspect)
        self.calls.append(Call())
        return self.calls[-1]

    def _changed(self) -> None:
        self.changes += 1

    @asynccontextmanager
    async def leased(
        self, priority: int | None, light: bool = False, prompt: Prompt | None = None
    ) -> AsyncIterator[Lease]:
        """A lease for one request, as the data path has it."""
        lease = self.pool.take(light, prompt) or await self.pool.wait(priority, light, prompt)
        try:
            yield lease
        finally:
            self.pool.put_back(lease, light)

    def waiting(self, stack: AsyncExitStack, priority: int | None = None, light: bool = False) -> "asyncio.Task[Lease]":
        return asyncio.create_task(stack.enter_async_context(self.leased(priority, light)))

    async def use(self, stack: AsyncExitStack, light: bool = False) -> Lease:
        return await stack.enter_async_context(self.leased(None, light))

    async def loaded(self, stack: AsyncExitStack, capacity: int = 2) -> Lease:
        """The first request, on replica r1."""
        using = self.waiting(stack)
        await until(lambda: len(self.calls) == 1)
        self.calls[0].grant(capacity=capacity)
        return await using

    async def full(self, stack: AsyncExitStack) -> Lease:
        return await self.loaded(stack, capacity=1)

    def running(self, *replicas: str) -> None:
        self.pool.replicas_changed(frozenset(replicas))

    async def two(self, stack: AsyncExitStack, capacity: int = 4) -> tuple[Lease, Lease]:
        """Leases on r1, with one request in flight, and on r2."""
        first = await self.loaded(stack, capacity)
        self.running("r1", "r2")
        await until(lambda: len(self.calls) == 2)
        self.calls[1].grant("r2", capacity)
        await until(lambda: self.pool.chooses)
        second = self.pool.take()
        assert second is not None
        self.pool.put_back(second)
        return first, second

    async def full_by_hand(self) -> Lease:
        """A lease that the test itself puts back."""
        waiting = asyncio.create_task(self.pool.wait())
        await until(lambda: len(self.calls) == 1)
        self.calls[0].grant(capacity=1)
        return await waiting

    @property
    def queued(self) -> int:
        return self.pool.traffic.queued

    @property
    def in_flight(self) -> int:
        return self.pool.traffic.in_flight


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0)


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def left(task: "asyncio.Task[Lease]") -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


# Opening.


async def test_one_opening_serves_all_who_wait(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = [slot.waiting(stack) for _ in range(2)]
    await settled()
    assert (len(slot.calls), slot.queued, slot.pool.resident) == (1, 2, False)
    slot.calls[0].grant()
    first, second = await asyncio.gather(*waiting)
    assert first is second
    assert (first.in_flight, slot.in_flight, slot.queued, slot.pool.resident) == (2, 2, 0, True)
    assert first.endpoint.token == "token"


async def test_a_lease_is_had_at_once_where_there_is_room() -> None:
    slot = Slot()
    assert slot.pool.take() is None
    assert slot.calls == [], "to take does not wake"
    async with AsyncExitStack() as early:
        lease = await slot.loaded(early)
        assert slot.pool.take() is lease
        assert slot.pool.take() is None
        slot.pool.put_back(lease)
    assert slot.in_flight == 0


async def test_a_waiter_that_leaves_does_not_stop_an_opening_that_others_wait_for(stack: AsyncExitStack) -> None:
    slot = Slot()
    first, second = slot.waiting(stack), slot.waiting(stack)
    await settled()
    await left(first)
    await settled()
    assert slot.queued == 1 and not slot.calls[0].cancelled
    slot.calls[0].grant()
    await second
    assert len(slot.calls) == 1


async def test_an_opening_that_nobody_waits_for_any_more_stops(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = [slot.waiting(stack) for _ in range(2)]
    await settled()
    for one in waiting:
        await left(one)
    await settled()
    assert (slot.queued, slot.calls[0].cancelled) == (0, True)
    again = slot.waiting(stack)
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant("r2")
    assert (await again).granted.replica == "r2"


async def test_a_request_that_comes_while_an_opening_is_being_stopped_has_its_own(stack: AsyncExitStack) -> None:
    slot = Slot()
    first = slot.waiting(stack)
    await settled()
    await left(first)
    second = slot.waiting(stack)
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant()
    await second


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [(FELL, LoadFailed, "engine_exited"), (RuntimeError("odd"), LoadFailed, "load_failed")],
    ids=["ours", "foreign"],
)
async def test_an_error_reaches_every_waiter_at_once(
    stack: AsyncExitStack, error: Exception, expected: type[ServingError], code: str
) -> None:
    slot = Slot()
    waiting = [slot.waiting(stack) for _ in range(3)]
    await settled()
    slot.calls[0].fail(error)
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, expected)
        assert answer.code == code
    assert (slot.queued, slot.calls[0].cancelled, len(slot.calls)) == (0, True, 1)


GONE = [
    type("ActorDiedError", (Exception,), {})("gone"),
    type("ActorUnavailableError", (Exception,), {})("gone"),
    type("RequestCancelledError", (Exception,), {})("gone"),
    asyncio.CancelledError(),
    EngineDied("chat", "gone"),
    StopAsyncIteration(),
]


@pytest.mark.parametrize("error", GONE, ids=lambda value: type(value).__name__)
async def test_a_replica_killed_while_it_opens_is_tried_once_more(stack: AsyncExitStack, error: BaseException) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].fail(error)
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant("r2")
    assert (await waiting).granted.replica == "r2"
    assert slot.calls[0].cancelled


@pytest.mark.parametrize("error", GONE, ids=lambda value: type(value).__name__)
async def test_but_not_for_ever(stack: AsyncExitStack, error: BaseException) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    for number in (1, 2):
        await until(lambda number=number: len(slot.calls) == number)  # type: ignore[misc]
        slot.calls[-1].fail(error)
    with pytest.raises(EngineDied):
        await waiting
    await settled()
    assert len(slot.calls) == 2


async def test_the_next_request_tries_again(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].fail(FELL)
    await asyncio.wait([waiting])
    assert waiting.exception() is not None
    again = slot.waiting(stack)
    await settled()
    slot.calls[1].grant()
    assert (await again).granted.replica == "r1"


async def test_an_error_wrapped_by_ray_is_its_cause(stack: AsyncExitStack) -> None:
    slot = Slot()
    wrapped = RuntimeError("RayTaskError")
    wrapped.cause = LoadFailed("chat", "load_timeout", "slow")  # type: ignore[attr-defined]
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].fail(wrapped)
    with pytest.raises(LoadFailed, match="slow"):
        await waiting


# Waiting for room.


async def test_a_full_engine_is_waited_for_in_our_own_line(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=1)
    async with AsyncExitStack() as early:
        first = await slot.full(early)
        waiting = slot.waiting(stack)
        await settled()
        assert not waiting.done()
        assert (first.in_flight, slot.queued, len(slot.calls)) == (1, 1, 1)
    assert await waiting is first
    assert (first.in_flight, slot.queued) == (1, 0)


async def test_the_line_is_in_order_of_priority() -> None:
    slot = Slot(priority=1)
    order: list[str] = []

    async def use(name: str, priority: int | None) -> None:
        async with slot.leased(priority):
            order.append(name)

    async with AsyncExitStack() as early, asyncio.TaskGroup() as tasks:
        await slot.full(early)
        for name, priority in (("own", None), ("low", -5), ("high", 5), ("own too", None), ("highest", 100)):
            tasks.create_task(use(name, priority))
        await settled()
        assert slot.pool.traffic.priority == 100
        await early.aclose()
    assert order == ["highest", "high", "own", "own too", "low"]


async def test_a_newcomer_does_not_pass_who_waits(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].grant(capacity=1)
    await until(lambda: slot.pool.resident)
    assert slot.pool.take() is None
    await waiting


async def test_light_operations_pass_by(stack: AsyncExitStack) -> None:
    slot = Slot()
    first = await slot.full(stack)
    waiting = slot.waiting(stack)
    await settled()
    assert await slot.use(stack, light=True) is first
    assert (first.light, first.in_flight, slot.in_flight, waiting.done()) == (1, 1, 2, False)
    await left(waiting)


async def test_a_light_operation_that_had_to_wait_for_the_load_waits_for_nothing_else(stack: AsyncExitStack) -> None:
    slot = Slot()
    heavy = [slot.waiting(stack, priority=9) for _ in range(3)]
    light = slot.waiting(stack, light=True)
    await settled()
    slot.calls[0].grant(capacity=1)
    await light
    await settled()
    assert sum(one.done() for one in heavy) == 1
    for one in heavy[1:]:
        await left(one)


async def test_light_operations_are_no_use_of_the_slot() -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        waiting = slot.waiting(early, light=True)
        await settled()
        slot.calls[0].grant()
        await waiting
    assert (slot.pool.traffic.answered, slot.pool.traffic.last_used) == (0, None)
    async with AsyncExitStack() as early:
        await slot.use(early)
    assert slot.pool.traffic.answered == 1 and slot.pool.traffic.last_used is not None


async def test_one_request_more_than_may_wait_is_refused(stack: AsyncExitStack) -> None:
    slot = Slot(max_queued=2)
    waiting = [slot.waiting(stack) for _ in range(2)]
    await settled()
    with pytest.raises(QueueFull) as refused:
        await slot.use(stack)
    assert (refused.value.status, refused.value.limit) == (429, 2)
    await left(waiting.pop())
    waiting.append(slot.waiting(stack))
    await settled()
    slot.calls[0].grant()
    await asyncio.gather(*waiting)


async def test_a_waiter_that_leaves_loses_no_place_of_the_engine(stack: AsyncExitStack) -> None:
    """The place becomes free after the request was cancelled and before it has left the line."""
    slot = Slot()
    lease = await slot.full_by_hand()
    leaving, other = slot.waiting(stack, priority=5), slot.waiting(stack)
    await settled()
    leaving.cancel()
    slot.pool.put_back(lease)
    assert await other is lease
    assert leaving.cancelled() and (lease.in_flight, slot.queued) == (1, 0)


async def test_a_lease_granted_in_the_moment_of_a_cancel_is_put_back(stack: AsyncExitStack) -> None:
    slot = Slot()
    lease = await slot.full_by_hand()
    leaving, other = slot.waiting(stack, priority=5), slot.waiting(stack)
    await settled()
    slot.pool.put_back(lease)
    assert (lease.in_flight, slot.queued) == (1, 1)
    leaving.cancel()
    assert await other is lease
    assert leaving.cancelled() and (lease.in_flight, slot.queued) == (1, 0)


async def test_how_long_and_how_many_wait_is_told(stack: AsyncExitStack) -> None:
    slot = Slot(priority=2)
    assert slot.pool.traffic.queued_since is None and slot.pool.traffic.priority is None
    first, second = slot.waiting(stack, priority=1), slot.waiting(stack)
    await settled()
    traffic = slot.pool.traffic
    assert (traffic.queued, traffic.priority) == (2, 2) and traffic.queued_since is not None
    for one in (first, second):
        await left(one)
    assert slot.queued == 0


async def test_it_is_told_when_a_slot_begins_and_ends_to_be_asked_for() -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        waiting = slot.waiting(early)
        await settled()
        begun = slot.changes
        assert begun
        slot.calls[0].grant()
        await waiting
    assert slot.changes > begun


# Further replicas.


async def test_a_full_lease_asks_for_no_replica_that_there_is_not(stack: AsyncExitStack) -> None:
    """The policy hears of the line from the board, and starts one."""
    slot = Slot(max_replicas=2)
    first = await slot.full(stack)
    slot.running("r1")
    waiting = slot.waiting(stack)
    await settled()
    assert (len(slot.calls), slot.queued, waiting.done()) == (1, 1, False)
    slot.running("r1", "r2")
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant("r2", 2)
    second = await waiting
    assert second is not first and second.replica == "r2"
    assert await slot.use(stack) is second


async def test_whoever_uses_a_slot_has_a_lease_on_each_of_its_replicas(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=4)
    async with AsyncExitStack() as early:
        await slot.loaded(early)
    slot.running("r1", "r2", "r3")
    await settled()
    assert len(slot.calls) == 1, "but nobody uses it now"
    await slot.use(stack)
    await settled()
    assert len(slot.calls) == 3
    slot.running("r1", "r2", "r3", "r4")
    await settled()
    assert len(slot.calls) == 4, "one that loads does not keep it from the next"
    slot.calls[2].grant("r3")
    await settled()
    assert (await slot.use(stack)).replica == "r3"
    slot.calls[1].grant("r2")
    slot.calls[3].grant("r4")
    await settled()
    assert {(await slot.use(stack)).replica for _ in range(2)} == {"r2", "r4"}
    assert len(slot.calls) == 4


async def test_who_waits_for_an_engine_waits_for_whichever_is_there_first(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    waiting = slot.waiting(stack)
    await settled()
    slot.running("r1", "r2")
    await until(lambda: len(slot.calls) == 2)
    slot.calls[0].fail(FELL)
    await settled()
    assert not waiting.done() and len(slot.calls) == 2
    slot.calls[1].grant("r2")
    assert (await waiting).replica == "r2"


async def test_the_last_one_to_fail_is_what_who_waits_is_told(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    waiting = slot.waiting(stack)
    await settled()
    slot.running("r1", "r2")
    await until(lambda: len(slot.calls) == 2)
    for call in slot.calls:
        call.fail(FELL)
    with pytest.raises(LoadFailed):
        await waiting
    await settled()
    assert len(slot.calls) == 2


async def test_room_on_an_old_lease_is_taken_while_a_further_replica_loads(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        first = await slot.full(early)
        slot.running("r1", "r2")
        waiting = slot.waiting(stack)
        await settled()
        assert not waiting.done()
    assert await waiting is first
    await settled()
    assert not slot.calls[1].cancelled, "it will be needed"
    slot.running("r1")
    await settled()
    assert slot.calls[1].cancelled, "but not without a replica to come from"


async def test_where_no_further_replica_can_be_had_the_old_one_is_waited_for(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        first = await slot.full(early)
        slot.running("r1", "r2")
        waiting = slot.waiting(stack)
        await settled()
        slot.calls[1].fail(LoadFailed("chat", "engine_exited", "no memory"))
        await settled()
        assert not waiting.done()
        other = slot.waiting(stack)
        await settled()
        assert len(slot.calls) == 2, "not for every request again"
        await left(other)
    assert await waiting is first


async def test_after_a_while_a_further_replica_is_asked_again(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "GROW_AGAIN_S", 0.0)
    slot = Slot(max_replicas=2)
    await slot.full(stack)
    slot.running("r1", "r2")
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[1].fail(FELL)
    await until(lambda: len(slot.calls) == 3)
    slot.calls[2].grant("r2")
    assert (await waiting).replica == "r2"


async def test_the_least_used_lease_is_taken(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    first, second = await slot.two(stack)
    assert (first.in_flight, second.in_flight) == (1, 0)
    async with AsyncExitStack() as early:
        assert [(await slot.use(early)).replica for _ in range(3)] == ["r2", "r1", "r2"]


async def test_a_conversation_goes_on_where_it_began(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    first, second = await slot.two(stack)
    said: list[JsonValue] = [{"role": "user", "content": "Tell me of Ada Lovelace. " * 20}]
    async with slot.leased(None, prompt=prompt_of({"messages": [*said]})) as lease:
        assert lease is second, "the less busy one"
    said += [{"role": "assistant", "content": "She wrote. " * 20}, {"role": "user", "content": "And then?"}]
    for _ in range(2):
        second.in_flight += 1
    async with slot.leased(None) as lease:
        assert lease is first
    async with slot.leased(None, prompt=prompt_of({"messages": [*said]})) as lease:
        assert lease is second
    second.in_flight -= 2


async def test_also_if_it_had_to_wait_for_a_place(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    await slot.two(stack, capacity=1)
    prompt = prompt_of({"prompt": "Once upon a time " * 40})
    async with AsyncExitStack() as early:
        last = await early.enter_async_context(slot.leased(None))
        waiting = asyncio.create_task(slot.pool.wait(None, prompt=prompt))
        await settled()
        assert not waiting.done()
    assert await waiting is last
    slot.pool.put_back(last)
    assert slot.pool.take(prompt=prompt) is last
    slot.pool.put_back(last)


# Replicas that Serve stops.


async def test_what_was_begun_on_a_replica_that_is_stopped_is_finished_and_the_rest_goes_elsewhere(
    stack: AsyncExitStack,
) -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        first, second = await slot.two(early)
        assert first.in_flight == 1
        slot.running("r2")
        assert first.revoked and slot.calls[0].over and not slot.calls[0].cancelled
        assert {(await slot.use(stack)).replica for _ in range(3)} == {"r2"}
    assert slot.calls[0].cancelled and not slot.calls[1].cancelled
    assert second.in_flight == 3


async def test_who_waits_for_a_replica_that_is_stopped_while_it_loads_is_not_kept_by_it(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    await settled()
    slot.running("r1")
    slot.calls[0].replica = "r1"
    await settled()
    slot.running()
    await until(lambda: len(slot.calls) == 2)
    assert slot.calls[0].cancelled and not waiting.done()
    slot.running("r2")
    slot.calls[1].grant("r2")
    assert (await waiting).replica == "r2"


async def test_a_lease_that_comes_from_a_replica_that_is_being_stopped_goes_back_unused(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].grant("r1")
    slot.running("r2")
    await until(lambda: len(slot.calls) == 2)
    assert slot.calls[0].cancelled and not waiting.done()
    slot.calls[1].grant("r2")
    assert (await waiting).replica == "r2"


async def test_while_all_replicas_are_replaced_requests_wait(stack: AsyncExitStack) -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        await slot.loaded(early)
        slot.running("r1")
        slot.running()
        waiting = [slot.waiting(stack) for _ in range(2)]
        await until(lambda: len(slot.calls) == 2)
    await settled()
    assert slot.queued == 2 and not any(one.done() for one in waiting)
    slot.running("r2")
    slot.calls[1].grant("r2")
    assert {lease.replica for lease in await asyncio.gather(*waiting)} == {"r2"}


async def test_a_distrusted_engines_replica_may_be_asked_again_while_requests_still_wait_for_it(
    stack: AsyncExitStack,
) -> None:
    slot = Slot()
    first = await slot.loaded(stack)
    slot.running("r1")
    slot.pool.distrust(first)
    assert slot.calls[0].over and not slot.calls[0].cancelled
    waiting = slot.waiting(stack)
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant("r1")
    assert await waiting is not first


# Leases that end.


async def test_a_lost_lease_is_not_used_again(stack: AsyncExitStack) -> None:
    slot = Slot()
    first = await slot.loaded(stack)
    slot.calls[0].fail(EngineDied("chat", "it fell"))
    await until(lambda: first.revoked)
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[1].grant("r2")
    assert await waiting is not first


@pytest.mark.parametrize("error", [EngineDied("chat", "it fell"), asyncio.CancelledError(), StopAsyncIteration()])
async def test_who_waits_for_a_lease_that_is_lost_has_the_engine_started_anew(
    stack: AsyncExitStack, error: BaseException
) -> None:
    slot = Slot()
    await slot.full(stack)
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].fail(error)
    await until(lambda: len(slot.calls) == 2)
    slot.calls[1].grant("r2")
    assert (await waiting).granted.replica == "r2"


async def test_a_revoked_lease_is_given_back_when_its_requests_are_done(stack: AsyncExitStack) -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        first = await slot.loaded(early)
        slot.pool.replicas_changed(frozenset({"r2"}))
        assert first.revoked and not slot.calls[0].cancelled
        assert (slot.in_flight, slot.pool.resident) == (1, False)
        waiting = slot.waiting(stack)
        await settled()
        assert (len(slot.calls), waiting.done()) == (2, False)
    assert slot.calls[0].cancelled
    slot.calls[1].grant("r2")
    assert (await waiting).granted.replica == "r2"


async def test_running_replicas_keep_their_leases_however_long_nobody_asks() -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        await slot.loaded(early)
    slot.pool.replicas_changed(frozenset({"r1", "r2"}))
    assert not slot.calls[0].cancelled
    slot.pool.replicas_changed(frozenset({"r2"}))
    assert slot.calls[0].cancelled


async def test_who_uses_a_lease_for_long_learns_that_it_is_wanted_back(stack: AsyncExitStack) -> None:
    slot = Slot()
    lease = await slot.loaded(stack)
    assert lease.wanted_since is None and not slot.pool.held
    slot.pool.hold(True)
    since = lease.wanted_since
    assert since is not None and slot.pool.held
    slot.pool.hold(True)
    assert lease.wanted_since == since, "it counts from the first time"
    slot.pool.hold(False)
    assert lease.wanted_since is None
    slot.pool.replicas_changed(frozenset({"r2"}))
    assert lease.wanted_since is not None
    slot.pool.hold(True)
    slot.pool.hold(False)
    assert lease.wanted_since is not None, "its replica is being stopped whether or not requests are held"


@pytest.mark.parametrize("how", ["lost", "distrusted", "closed"])
async def test_a_lease_of_no_more_use_is_wanted_back(stack: AsyncExitStack, how: str) -> None:
    slot = Slot()
    lease = await slot.loaded(stack)
    if how == "lost":
        slot.calls[0].fail(EngineDied("chat", "it fell"))
    elif how == "distrusted":
        slot.pool.distrust(lease)
    else:
        await slot.pool.close()
    await until(lambda: lease.wanted_since is not None)


async def test_a_lease_that_is_put_back_while_held_comes_again_with_the_next_turn() -> None:
    slot = Slot()
    lease = await slot.full_by_hand()
    slot.pool.hold(True)
    slot.pool.put_back(lease)
    assert (slot.in_flight, slot.pool.take()) == (0, None)
    slot.pool.hold(False)
    assert slot.pool.take() is lease and lease.wanted_since is None


async def test_closing_gives_everything_back_and_tells_who_waits() -> None:
    slot = Slot(max_replicas=2)
    async with AsyncExitStack() as early:
        await slot.full(early)
        slot.running("r1", "r2")
        waiting = slot.waiting(early)
        await settled()
        await slot.pool.close()
        with pytest.raises(LoadFailed) as refused:
            await waiting
        assert refused.value.code == "shutting_down"
        with pytest.raises(LoadFailed):
            await slot.use(early)
    await settled()
    assert [call.cancelled for call in slot.calls] == [True, True]


async def test_closing_while_it_loads_opens_nothing_new() -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        waiting = slot.waiting(early)
        await settled()
        await slot.pool.close()
        await asyncio.wait([waiting])
        assert isinstance(waiting.exception(), LoadFailed)
    await settled()
    assert [call.cancelled for call in slot.calls] == [True]


# What the board says.


async def test_requests_for_a_slot_that_gives_way_wait_for_its_next_turn(stack: AsyncExitStack) -> None:
    slot = Slot(max_replicas=2)
    first = await slot.loaded(stack)
    slot.pool.hold(True)
    waiting, light = slot.waiting(stack), slot.waiting(stack, light=True)
    await settled()
    assert not waiting.done() and not light.done()
    assert (slot.queued, len(slot.calls)) == (2, 1), "neither is a further replica asked for"
    slot.pool.hold(False)
    assert await waiting is first and await light is first


async def test_held_requests_wake_the_slot_again_once_it_is_gone(stack: AsyncExitStack) -> None:
    slot = Slot()
    async with AsyncExitStack() as early:
        await slot.loaded(early)
        slot.pool.hold(True)
        waiting = slot.waiting(stack)
        await settled()
    assert not waiting.done()
    slot.running()
    await until(lambda: len(slot.calls) == 2)
    slot.running("r2")
    slot.calls[1].grant("r2")
    await settled()
    assert not waiting.done(), "as long as it is held"
    slot.pool.hold(False)
    assert (await waiting).granted.replica == "r2"


async def test_a_refusal_answers_all_who_wait_and_all_who_come(stack: AsyncExitStack) -> None:
    slot = Slot()
    waiting = [slot.waiting(stack) for _ in range(2)]
    await settled()
    slot.pool.refuse(lambda: FELL)
    assert await asyncio.gather(*waiting, return_exceptions=True) == [FELL, FELL]
    with pytest.raises(LoadFailed):
        await slot.use(stack)
    await settled()
    assert [call.cancelled for call in slot.calls] == [True]


async def test_a_refusal_is_asked_for_each_time_and_ends(stack: AsyncExitStack) -> None:
    slot = Slot()
    answers: list[LoadFailed | None] = [FELL, None]
    slot.pool.refuse(lambda: answers[0])
    with pytest.raises(LoadFailed):
        await slot.use(stack)
    del answers[0]
    waiting = slot.waiting(stack)
    await settled()
    slot.calls[0].grant()
    await waiting


async def test_who_is_served_is_not_refused(stack: AsyncExitStack) -> None:
    slot = Slot()
    first = await slot.full_by_hand()
    waiting = slot.waiting(stack)
    await settled()
    slot.pool.refuse(lambda: FELL)
    await settled()
    assert not waiting.done()
    slot.pool.put_back(first)
    assert await waiting is first


async def test_an_engine_that_did_not_answer_is_named_when_another_lease_is_asked_for(stack: AsyncExitStack) -> None:
    slot = Slot()
    lease = await slot.loaded(stack)
    slot.pool.distrust(lease)
    waiting = asyncio.create_task(slot.use(stack))
    await until(lambda: len(slot.calls) == 2)
    assert slot.suspects == ["", "token"]
    slot.calls[1].grant("r1")
    assert await waiting is not lease
