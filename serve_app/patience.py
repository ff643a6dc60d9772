"""How a request waits for its slot: for how long, and what its client hears meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from providers.base import JsonObject
from providers.spec import SlotSpec
from serve_app.affinity_prompt import Prompt
from serve_app.errors import StillLoading
from serve_app.http_io import dump_json
from serve_app.leases import Lease, LeasePool
from serve_app.progress import loading_object, told_in_words
from serve_app.reply import KEEP_ALIVE, Reply

REASONING_S = 1.0
"""Between two lines of progress."""
RETRY_S = 3.0
WANT_S = 2.0
LONGEST_RETRY_S = 30.0
"""Clients take a longer Retry-After as a reason to give up."""

View = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """`light`: next to no work for the engine; `queued`: the engine orders such requests itself. `streams`: its client
    expects events, and may be sent some before the answer. `shows_progress`: as reasoning. `prompt`: tells which of
    several engines is best for it."""

    slot: SlotSpec
    priority: int | None
    light: bool
    streams: bool
    shows_progress: bool
    queued: bool = False
    prompt: Prompt | None = None

    @property
    def without_place(self) -> bool:
        """Whether it need not wait for one of the slot's `parallel_requests`."""
        return self.light or self.queued


class Patience:
    """`view` tells how a slot stands; `want` tells the board that somebody will ask for it again."""

    def __init__(self, keep_alive_s: float, view: View, want: Callable[[str], Awaitable[object]]) -> None:
        self._keep_alive_s, self._view, self._want = keep_alive_s, view, want

    async def lease(self, request: WaitingRequest, pool: LeasePool, reply: Reply) -> Lease:
        """Raises `StillLoading` after `load_wait_s` without an engine, and whatever makes waiting useless. A request
        that waits for its turn with an engine has all of that time if the engine goes."""
        deadline = time.monotonic() + request.slot.load_wait_s
        getting = asyncio.ensure_future(pool.wait(request.priority, request.without_place, request.prompt))
        lease: Lease | None = None
        try:
            while not (await asyncio.wait([getting], timeout=self._pause_s(request, pool, deadline)))[0]:
                if pool.resident:
                    deadline = time.monotonic() + request.slot.load_wait_s
                elif time.monotonic() >= deadline:
                    await self._have_it_loaded(request.slot.name)
                    if getting.done():
                        break
                    raise self._still_loading(request.slot)
                if request.streams:
                    await self._comfort(request, reply)
            lease = getting.result()
            return lease
        finally:
            if lease is None:
                _leave(getting, pool, request.without_place)

    async def _have_it_loaded(self, slot: str) -> None:
        """As far as the board can be told: the client is answered in any case."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(WANT_S):
                await self._want(slot)

    def _pause_s(self, request: WaitingRequest, pool: LeasePool, deadline: float) -> float:
        """Until something is to be done for the request."""
        pause_s = min(self._keep_alive_s, REASONING_S) if request.shows_progress else self._keep_alive_s
        return pause_s if pool.resident else min(pause_s, max(0.0, deadline - time.monotonic()))

    async def _comfort(self, request: WaitingRequest, reply: Reply) -> None:
        await reply.begin_stream()
        name = request.slot.name
        if request.shows_progress:
            await reply.chunk(reasoning_chunk(name, told_in_words(name, self._view(name))))
        else:
            await reply.chunk(KEEP_ALIVE)

    def _still_loading(self, slot: SlotSpec) -> StillLoading:
        loading = loading_object(slot.name, self._view(slot.name))
        retry_after_s = min(max(1.0, loading.get("eta_seconds", RETRY_S)), LONGEST_RETRY_S)
        return StillLoading(slot.name, loading, slot.load_wait_s, retry_after_s)


def _leave(getting: "asyncio.Future[Lease]", pool: LeasePool, light: bool) -> None:
    """A lease that comes in the very moment in which its request gives up goes back."""
    if not getting.cancel() and not getting.cancelled() and getting.exception() is None:
        pool.put_back(getting.result(), light)


def reasoning_chunk(model: str, line: str) -> bytes:
    """A chunk of a streamed chat whose only news is a line of `reasoning_content`."""
    delta: JsonObject = {"role": "assistant", "content": None, "reasoning_content": line + "\n"}
    chunk: JsonObject = {
        "id": "chatcmpl-loading",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }
    return b"data: " + dump_json(chunk) + b"\n\n"
