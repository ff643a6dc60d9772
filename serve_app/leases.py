"""Leases: an ingress's standing permission to send requests straight to a slot's engine.

One lease is one long-lived streaming call to a replica of the slot. Serve sees an ongoing request, which wakes the slot
and keeps it; requests themselves never pass through Serve. A lease that has been unused for the slot's linger time is
given back, and then the slot may be unloaded.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from providers.base import Endpoint
from providers.spec import SlotSpec
from serve_app.board import Traffic
from serve_app.errors import EngineDied, LoadFailed, ServingError, SlotUnplaceable
from serve_app.slot import Granted, linger_s

logger = logging.getLogger("hal0.leases")

PLACEMENT_CHECK_S = 0.5


class LeaseCall(Protocol):
    """A streaming call of `SlotDeployment.lease`."""

    def __aiter__(self) -> AsyncIterator[Granted]: ...
    def cancel(self) -> None: ...


OpenCall = Callable[[], LeaseCall]
PlacementAdvice = Callable[[SlotSpec], Any]


@dataclass(slots=True, eq=False)
class Lease:
    """Granted by one replica. Closed by its holder; lost when the replica or its engine goes away."""

    granted: Granted
    call: LeaseCall
    in_flight: int = 0
    revoked: bool = False
    unused_since: float = field(default_factory=time.monotonic)
    lost: ServingError | None = None

    @property
    def endpoint(self) -> Endpoint:
        return self.granted.endpoint

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.granted.capacity


class LeasePool:
    """All leases that one ingress holds on one slot. Lives on one event loop."""

    def __init__(self, slot: SlotSpec, open_call: OpenCall, advice: PlacementAdvice) -> None:
        self._slot, self._open_call, self._advice = slot, open_call, advice
        self._linger_s = linger_s(slot)
        self._leases: list[Lease] = []
        self._opening: asyncio.Task[Lease] | None = None
        self._followers: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self.queued = 0
        self.answered = 0
        self.last_used: float | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Lease]:
        """A lease for one request. Waits for the slot to load where it must; raises why it cannot be loaded."""
        lease = await self._acquire()
        lease.in_flight += 1
        try:
            yield lease
        finally:
            lease.in_flight -= 1
            self.answered += 1
            self.last_used = time.time()
            lease.unused_since = time.monotonic()
            self._room.set()
            if lease.in_flight == 0 and (lease.revoked or self._linger_s == 0):
                self._give_back(lease)

    @property
    def traffic(self) -> Traffic:
        in_flight = sum(lease.in_flight for lease in self._leases)
        return Traffic(in_flight, self.queued, self.answered, self.last_used)

    def sweep(self, now: float) -> None:
        """Give back what has not been used for the linger time."""
        for lease in tuple(self._leases):
            if lease.in_flight == 0 and now - lease.unused_since >= self._linger_s:
                self._give_back(lease)

    def replicas_changed(self, running: frozenset[str]) -> None:
        """Stop using leases on replicas that Serve is stopping; give them back when their requests are done."""
        for lease in tuple(self._leases):
            if lease.granted.replica not in running:
                lease.revoked = True
                if lease.in_flight == 0:
                    self._give_back(lease)

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for lease in tuple(self._leases):
            self._give_back(lease)

    async def _acquire(self) -> Lease:
        """A lease with room at once; else a new one, or room on an old one, whichever comes first."""
        lease = self._least_used()
        if lease is not None and (lease.has_room or self._at_ceiling):
            return lease
        self.queued += 1
        try:
            while lease is not None and not (lease.has_room or self._at_ceiling):
                more = await self._new_lease_or_room()
                lease = self._least_used()
                if not more:
                    break
            return lease if lease is not None else await asyncio.shield(self._start_opening())
        finally:
            self.queued -= 1

    def _least_used(self) -> Lease | None:
        usable = [lease for lease in self._leases if not lease.revoked]
        return min(usable, key=lambda one: one.in_flight) if usable else None

    @property
    def _at_ceiling(self) -> bool:
        return len(self._leases) >= self._slot.max_replicas

    async def _new_lease_or_room(self) -> bool:
        """False if a further replica cannot be had; that is no reason to fail, since the old ones still answer."""
        self._room.clear()
        room = asyncio.create_task(self._room.wait())
        opening = self._start_opening()
        ends: list[asyncio.Task[Any]] = [opening, room]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            room.cancel()
        return not opening.done() or (not opening.cancelled() and opening.exception() is None)

    def _start_opening(self) -> "asyncio.Task[Lease]":
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return self._opening

    def _opened(self, task: "asyncio.Task[Lease]") -> None:
        self._opening = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("slot %s gave no lease: %s", self._slot.name, error)

    async def _open(self) -> Lease:
        """One call to the slot; its first item is the lease. Gives up at once on a slot that fits on no node."""
        call = self._open_call()
        items = call.__aiter__()
        first = asyncio.ensure_future(anext(items))
        try:
            while not (await asyncio.wait([first], timeout=PLACEMENT_CHECK_S))[0]:
                if advice := await self._advice(self._slot):
                    raise SlotUnplaceable(self._slot.name, advice)
            granted = first.result()
        except BaseException as error:
            first.cancel()
            call.cancel()
            raise self._in_our_terms(error) from error
        lease = Lease(granted, call)
        self._leases.append(lease)
        follower = asyncio.create_task(self._follow(lease, items))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return lease

    async def _follow(self, lease: Lease, items: AsyncIterator[Granted]) -> None:
        """Until the lease ends. It ends with an exception: ours for giving it back, or the slot's for losing it."""
        try:
            async for _ in items:
                pass
        except Exception as error:
            lease.lost = self._in_our_terms(error)  # type: ignore[assignment]
        lease.revoked = True
        if lease in self._leases:
            self._leases.remove(lease)

    def _in_our_terms(self, error: BaseException) -> BaseException:
        """A Serve or Ray error as one that a client understands."""
        cause = getattr(error, "cause", None)
        # Ray's own class for a remote error passes for the original's, but has not its attributes.
        for candidate in (cause, error):
            if isinstance(candidate, ServingError | asyncio.CancelledError):
                return candidate
        if isinstance(error, StopAsyncIteration):
            return EngineDied(self._slot.name, "it ended without an answer")
        if not isinstance(error, Exception):
            return error
        name = type(error).__name__
        if "Unavailable" in name or "ActorDied" in name or "Cancelled" in name:
            return EngineDied(self._slot.name, f"its replica went away ({name})")
        return LoadFailed(self._slot.name, "load_failed", f"{name}: {error}")

    def _give_back(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
        lease.revoked = True
        lease.call.cancel()
