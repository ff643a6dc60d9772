"""How a request waits for its slot, and what its client hears meanwhile."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message

from providers.base import Endpoint
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app import patience as module
from serve_app.affinity_prompt import Prompt
from serve_app.errors import LoadFailed, StillLoading
from serve_app.granted import Granted
from serve_app.lease_call import LeaseCall
from serve_app.leases import Lease, LeasePool
from serve_app.patience import LONGEST_RETRY_S, Patience, WaitingRequest
from serve_app.reply import KEEP_ALIVE, Reply

PATIENCE_S = 5.0
LEASE = Lease(Granted("r1", Endpoint("http://127.0.0.1:1", "token"), 2), cast(LeaseCall, None))
SOON_S, LATE_S = 0.002, 3600.0


class Pool:
    """One request waits here until the test lets it go on."""

    def __init__(self) -> None:
        self.granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self.resident = False
        self.asked: list[tuple[int | None, bool]] = []
        self.put: list[tuple[Lease, bool]] = []

    async def wait(self, priority: int | None, light: bool, prompt: Prompt | None) -> Lease:
        self.asked.append((priority, light))
        return await self.granted

    def put_back(self, lease: Lease, light: bool) -> None:
        self.put.append((lease, light))


class Bench:
    """A request with all that is around it."""

    def __init__(self, keep_alive_s: float = LATE_S, load_wait_s: float = LATE_S, **more: Any) -> None:
        self.slot = SlotSpec(
            name="chat", provider="p", model="m", capabilities=(Capability.CHAT,), load_wait_s=load_wait_s
        )
        request = {"priority": None, "light": False, "streams": False, "shows_progress": False} | more
        self.request = WaitingRequest(self.slot, **request)
        self.view: dict[str, Any] = {"name": "chat", "state": "pulling", "progress": {"fraction": 0.5}}
        self.wanted: list[str] = []
        self.want: Callable[[str], Awaitable[object]] = self._want
        self.pool = Pool()
        self.sent: list[Message] = []
        self.heard = asyncio.Event()
        self.reply = Reply(self._send, anthropic=False)
        self.patience = Patience(keep_alive_s, lambda _: self.view, lambda name: self.want(name))

    async def _want(self, slot: str) -> None:
        self.wanted.append(slot)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def begin(self) -> "asyncio.Task[Lease]":
        pool = cast(LeasePool, self.pool)
        return asyncio.create_task(self.patience.lease(self.request, pool, self.reply))

    async def refusal(self) -> StillLoading:
        with pytest.raises(StillLoading) as refused:
            await asyncio.wait_for(self.begin(), PATIENCE_S)
        return refused.value

    async def has_heard(self, chunks: int) -> list[bytes]:
        """So many chunks of a stream that has begun."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sent) < chunks + 1:
                await asyncio.sleep(0)
        return [message["body"] for message in self.sent[1:]]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_request_has_its_lease_as_soon_as_there_is_one() -> None:
    bench = Bench(priority=7, light=True)
    waiting = bench.begin()
    await settled()
    assert not waiting.done()
    bench.pool.granted.set_result(LEASE)
    assert await waiting is LEASE
    assert (bench.pool.asked, bench.pool.put, bench.sent) == ([(7, True)], [], [])


async def test_what_makes_waiting_useless_is_told_at_once() -> None:
    bench = Bench()
    waiting = bench.begin()
    await settled()
    bench.pool.granted.set_exception(LoadFailed("chat", "engine_exited", "it fell"))
    with pytest.raises(LoadFailed, match="it fell"):
        await waiting


# Past load_wait_s.


async def test_a_load_that_takes_too_long_is_told_with_how_far_it_is_and_goes_on() -> None:
    bench = Bench(load_wait_s=SOON_S)
    error = await bench.refusal()
    assert (error.status, error.code, error.retry_after_s) == (503, "model_loading", module.RETRY_S)
    assert error.extra == {"loading": {"model": "chat", "state": "pulling", "progress": 0.5}}
    assert bench.wanted == ["chat"]
    assert bench.pool.granted.cancelled(), "it has left the line"
    assert bench.sent == []


@pytest.mark.parametrize(("eta_s", "retry_after_s"), [(0.2, 1.0), (12.5, 12.5), (4000.0, LONGEST_RETRY_S)])
async def test_the_client_is_told_to_come_back_when_it_should_have_loaded(eta_s: float, retry_after_s: float) -> None:
    bench = Bench(load_wait_s=SOON_S)
    bench.view["progress"]["eta_seconds"] = eta_s
    assert (await bench.refusal()).retry_after_s == retry_after_s


async def test_a_board_that_does_not_answer_keeps_no_client_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: str) -> None:
        raise RuntimeError("it is being restarted")

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "WANT_S", SOON_S)
    for want in (fails, hangs):
        bench = Bench(load_wait_s=SOON_S)
        bench.want = want
        await bench.refusal()


async def test_a_lease_that_comes_while_the_board_is_told_is_taken() -> None:
    bench = Bench(load_wait_s=SOON_S)

    async def comes(_: str) -> None:
        bench.pool.granted.set_result(LEASE)
        await settled()

    bench.want = comes
    assert await asyncio.wait_for(bench.begin(), PATIENCE_S) is LEASE


async def test_where_an_engine_answers_a_turn_is_waited_for_without_that_limit() -> None:
    bench = Bench(load_wait_s=SOON_S, keep_alive_s=SOON_S, streams=True)
    bench.pool.resident = True
    waiting = bench.begin()
    assert await bench.has_heard(3) == [KEEP_ALIVE] * 3
    assert not waiting.done()
    bench.pool.granted.set_result(LEASE)
    assert await waiting is LEASE


async def test_whose_turn_was_near_when_the_engine_went_has_all_of_a_load_s_time() -> None:
    bench = Bench(load_wait_s=LATE_S, keep_alive_s=SOON_S, streams=True)
    bench.pool.resident = True
    waiting = bench.begin()
    with pytest.MonkeyPatch.context() as patch:
        later = time.monotonic() + LATE_S + 1
        patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: later))
        heard = len(await bench.has_heard(2))
        bench.pool.resident = False
        await bench.has_heard(heard + 2)
        assert not waiting.done()
    bench.pool.granted.set_result(LEASE)
    assert await waiting is LEASE


# What the client hears.


async def test_a_stream_is_kept_alive_by_comments() -> None:
    bench = Bench(keep_alive_s=SOON_S, streams=True)
    waiting = bench.begin()
    assert await bench.has_heard(2) == [KEEP_ALIVE] * 2
    assert (bench.sent[0]["status"], bench.reply.begun) == (200, True)
    bench.pool.granted.set_result(LEASE)
    assert await waiting is LEASE


async def test_nothing_is_sent_to_who_expects_one_answer() -> None:
    bench = Bench(keep_alive_s=0.0001, load_wait_s=0.05)
    await bench.refusal()
    assert bench.sent == []


async def test_a_stream_that_need_not_wait_long_begins_with_its_answer() -> None:
    bench = Bench(streams=True, shows_progress=True)
    waiting = bench.begin()
    await settled()
    bench.pool.granted.set_result(LEASE)
    await waiting
    assert bench.sent == []


async def test_progress_is_told_as_reasoning_where_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REASONING_S", SOON_S)
    bench = Bench(streams=True, shows_progress=True)
    waiting = bench.begin()
    await bench.has_heard(1)
    bench.view = {"name": "chat", "state": "warming", "progress": None}
    heard = len(bench.sent)
    chunks = [json.loads(chunk.removeprefix(b"data: ")) for chunk in await bench.has_heard(heard)]
    assert chunks[0]["object"] == "chat.completion.chunk" and chunks[0]["model"] == "chat"
    [choice] = chunks[0]["choices"]
    assert choice["delta"] == {"role": "assistant", "content": None, "reasoning_content": "chat is pulling: 50%\n"}
    assert choice["finish_reason"] is None
    assert chunks[-1]["choices"][0]["delta"]["reasoning_content"] == "chat is warming ...\n"
    bench.pool.granted.set_result(LEASE)
    await waiting


async def test_a_stream_that_has_begun_still_ends_when_the_load_takes_too_long() -> None:
    bench = Bench(keep_alive_s=SOON_S, load_wait_s=10 * SOON_S, streams=True)
    await bench.refusal()
    assert bench.reply.begun


# Clients that leave.


async def test_a_request_whose_client_leaves_is_removed_from_the_line() -> None:
    bench = Bench()
    waiting = bench.begin()
    await settled()
    waiting.cancel()
    await asyncio.wait([waiting])
    await settled()
    assert waiting.cancelled() and bench.pool.granted.cancelled() and bench.pool.put == []


async def test_a_client_that_cannot_be_written_to_leaves_the_line() -> None:
    bench = Bench(keep_alive_s=SOON_S, streams=True)

    async def broken(_: Message) -> None:
        raise OSError("connection reset")

    bench.reply = Reply(broken, anthropic=False)
    with pytest.raises(OSError, match="reset"):
        await asyncio.wait_for(bench.begin(), PATIENCE_S)
    await settled()
    assert bench.pool.granted.cancelled()


@pytest.mark.parametrize("light", [False, True])
async def test_a_lease_that_comes_in_the_moment_of_leaving_goes_back(light: bool) -> None:
    bench = Bench(light=light)
    waiting = bench.begin()
    await settled()
    bench.pool.granted.set_result(LEASE)
    await asyncio.sleep(0)  # the pool has let go of it, and the request has not taken it yet
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() == (bench.pool.put == [(LEASE, light)])
    assert waiting.cancelled() or waiting.result() is LEASE
