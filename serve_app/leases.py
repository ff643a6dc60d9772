"""Leases: an ingress's standing permission to send requests straight to a slot's engine.

One lease is one long-lived streaming call to a replica of the slot; requests themselves never pass through Serve. A
lease is held until its replica stops: it costs nothing, and whether anybody waits for the slot or uses it the board
learns from the traffic.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from providers.base import Endpoint
from providers.spec import SlotSpec
from serve_app.errors import EngineDied, LoadFailed, QueueFull, ServingError
from serve_app.granted import Granted
from serve_app.line import Line
from serve_app.news import Traffic

logger = logging.getLogger("hal0.leases")

OPENING_TRIES = 2
"""A replica that was killed while it loaded is replaced once before those who wait are told."""
GROW_AGAIN_S = 5.0
"""After a further replica could not be had."""


class LeaseCall(Protocol):
    """A streaming call of `SlotDeployment.lease`."""

    def __aiter__(self) -> AsyncIterator[Granted]: ...
    def cancel(self) -> None: ...


OpenCall = Callable[[str], LeaseCall]
"""Its argument is the token of an engine that has not answered, if there is one."""


@dataclass(slots=True, eq=False)
class Lease:
    """Granted by one replica. Closed by its holder; lost when the replica or its engine goes away."""

    granted: Granted
    call: LeaseCall
    in_flight: int = 0
    light: int = 0
    """Requests in flight that take no place in the engine."""
    revoked: bool = False
    wanted_since: float | None = None
    """On the monotonic clock: since when who uses it for long is to put it back as soon as that disturbs nobody."""

    @property
    def endpoint(self) -> Endpoint:
        return self.granted.endpoint

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.granted.capacity

    @property
    def unused(self) -> bool:
        return self.in_flight + self.light == 0

    def want_back(self) -> None:
        if self.wanted_since is None:
            self.wanted_since = time.monotonic()

    def revoke(self) -> None:
        """No further request gets it."""
        self.revoked = True
        self.want_back()


class LeasePool:
    """All leases that one ingress holds on one slot, and the requests that wait for one. Lives on one event loop.

    `changed` is called when requests begin to wait, and when none does any more.
    """

    def __init__(self, slot: SlotSpec, open_call: OpenCall, changed: Callable[[], None] = lambda: None) -> None:
        self._slot, self._open_call, self._changed = slot, open_call, changed
        self._leases: list[Lease] = []
        self._line: Line[Lease] = Line()
        self._opening: asyncio.Task[Lease] | None = None
        self._followers: set[asyncio.Task[None]] = set()
        self._grow_at = 0.0
        self._refusal: Callable[[], ServingError | None] = lambda: None
        self._held = False
        self._suspect = ""
        self.answered = 0
        self.last_used: float | None = None

    def take(self, light: bool = False) -> Lease | None:
        """A lease at once, if one can be had without waiting. Goes back by `put_back`."""
        if self._held or (self._line and not light):
            return None
        lease = self._with_room(light)
        return None if lease is None else self._taken(lease, light)

    async def wait(self, priority: int | None = None, light: bool = False) -> Lease:
        """A lease when there is one; raises why none can be had. Goes back by `put_back`."""
        if not self.resident and (refusal := self._refusal()) is not None:
            raise refusal
        if len(self._line) >= self._slot.max_queued:
            raise QueueFull(self._slot.name, self._slot.max_queued)
        waiter = self._line.join(self._slot.priority if priority is None else priority, light)
        if len(self._line) == 1:
            self._changed()
        self._serve_the_line()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                self.put_back(waiter.granted.result(), light)
            raise
        finally:
            self._line.leave(waiter)
            self._stop_opening_for_nobody()
            if not self._line:
                self._changed()

    def put_back(self, lease: Lease, light: bool = False) -> None:
        if light:
            lease.light -= 1
        else:
            lease.in_flight -= 1
            self.note_use()
        if lease.revoked and lease.unused:
            self._give_back(lease)
        if self._line:
            self._serve_the_line()

    def note_use(self) -> None:
        """A request has ended that keeps the slot awake."""
        self.answered += 1
        self.last_used = time.time()

    def distrust(self, lease: Lease) -> None:
        """Its engine did not answer: it is not used again, and the replica is told why another lease is asked for."""
        lease.revoke()
        self._suspect = lease.endpoint.token

    @property
    def resident(self) -> bool:
        """Whether an engine answers: a request that waits then does so for its turn, not for a load."""
        return any(not lease.revoked for lease in self._leases)

    @property
    def traffic(self) -> Traffic:
        in_flight = sum(lease.in_flight + lease.light for lease in self._leases)
        return Traffic(in_flight, len(self._line), self.answered, self.last_used, self._line.since, self._line.priority)

    def hold(self, held: bool) -> None:
        """While held, requests wait for the slot's next turn: it is about to give way. Leases are wanted back."""
        self._held = held
        for lease in self._leases:
            if held:
                lease.want_back()
            elif not lease.revoked:
                lease.wanted_since = None
        if not held:
            self._serve_the_line()

    @property
    def held(self) -> bool:
        return self._held

    def refuse(self, refusal: Callable[[], ServingError | None]) -> None:
        """What requests are told as long as no engine answers; None: nothing, they wait."""
        self._refusal = refusal
        if not self.resident and (error := refusal()) is not None:
            self._line.refuse_all(error)
            self._stop_opening_for_nobody()

    def replicas_changed(self, running: frozenset[str]) -> None:
        """Stop using leases on replicas that Serve is stopping; give them back when their requests are done."""
        for lease in tuple(self._leases):
            if lease.granted.replica not in running:
                lease.revoke()
                if lease.unused:
                    self._give_back(lease)
        self._serve_the_line()

    async def close(self) -> None:
        for lease in tuple(self._leases):
            self._give_back(lease)
        self.refuse(lambda: LoadFailed(self._slot.name, "shutting_down", "the server is stopping"))
        if self._opening is not None:
            await asyncio.wait([self._opening])

    def _with_room(self, light: bool) -> Lease | None:
        usable = [lease for lease in self._leases if not lease.revoked and (light or lease.has_room)]
        return min(usable, key=lambda one: one.in_flight) if usable else None

    @staticmethod
    def _taken(lease: Lease, light: bool) -> Lease:
        if light:
            lease.light += 1
        else:
            lease.in_flight += 1
        return lease

    def _serve_the_line(self) -> None:
        """Give out what there is; ask for more if that is not enough."""
        while not self._held and (waiter := self._line.head()) is not None:
            lease = self._with_room(waiter.light)
            if lease is None:
                break
            self._line.grant(waiter, self._taken(lease, waiter.light))
        if self._line and self._opening is None and self._may_open:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)

    @property
    def _may_open(self) -> bool:
        usable = sum(not lease.revoked for lease in self._leases)
        may_grow = not self._held and usable < self._slot.max_replicas and time.monotonic() >= self._grow_at
        return usable == 0 or may_grow

    def _stop_opening_for_nobody(self) -> None:
        if self._opening is not None and not self._line:
            self._opening.cancel()

    def _opened(self, task: "asyncio.Task[Lease]") -> None:
        self._opening = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("slot %s gave no lease: %s", self._slot.name, error)
            self._grow_at = time.monotonic() + GROW_AGAIN_S
            if not self.resident and isinstance(error, Exception):
                self._line.refuse_all(error)
        self._serve_the_line()

    async def _open(self) -> Lease:
        """One call to the slot; its first item is the lease."""
        for tries_left in reversed(range(OPENING_TRIES)):
            call = self._open_call(self._suspect)
            items = call.__aiter__()
            try:
                granted = await anext(items)
            except BaseException as error:
                call.cancel()
                ours = self._in_our_terms(error)
                if isinstance(ours, EngineDied) and tries_left:
                    continue
                if ours is error:
                    raise
                raise ours from error
            lease = Lease(granted, call)
            self._leases.append(lease)
            follower = asyncio.create_task(self._follow(lease, items))
            self._followers.add(follower)
            follower.add_done_callback(self._followers.discard)
            return lease
        raise AssertionError("unreachable")

    async def _follow(self, lease: Lease, items: AsyncIterator[Granted]) -> None:
        """Until the lease ends. It ends with an exception: ours for giving it back, or the slot's for losing it."""
        try:
            async for _ in items:
                pass
        except BaseException as error:
            ours = self._in_our_terms(error)
            if not isinstance(ours, Exception):
                raise
            logger.info("slot %s: a lease ended: %s", self._slot.name, ours)
        lease.revoke()
        if lease in self._leases:
            self._leases.remove(lease)
        self._serve_the_line()

    def _in_our_terms(self, error: BaseException) -> BaseException:
        """A Serve or Ray error as one that a client understands."""
        # Ray's own class for a remote error passes for the original's, but has not its attributes.
        for candidate in (getattr(error, "cause", None), error):
            if isinstance(candidate, ServingError):
                return candidate
        if isinstance(error, StopAsyncIteration):
            return EngineDied(self._slot.name, "it ended without an answer")
        if not isinstance(error, Exception | asyncio.CancelledError) or _is_being_cancelled():
            return error
        name = type(error).__name__
        if "Unavailable" in name or "ActorDied" in name or "Cancelled" in name:
            return EngineDied(self._slot.name, f"its replica went away ({name})")
        return LoadFailed(self._slot.name, "load_failed", f"{name}: {error}")

    def _give_back(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
        lease.revoke()
        lease.call.cancel()


def _is_being_cancelled() -> bool:
    """A call that was cancelled on the other side raises the same in a task that was not."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
