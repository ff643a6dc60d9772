"""Leases: an ingress's standing permission to send requests straight to a slot's engine.

One lease is one long-lived streaming call to a replica of the slot; requests themselves never pass through Serve. A
lease is held until its replica stops: it costs nothing, and whether anybody waits for the slot or uses it the board
learns from the traffic. An ingress that has requests for a slot holds one lease on each of its replicas.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from providers.base import Endpoint
from providers.spec import SlotSpec
from serve_app.affinity import Affinity
from serve_app.affinity_prompt import Prompt
from serve_app.errors import LoadFailed, QueueFull, ServingError
from serve_app.granted import Granted
from serve_app.lease_call import LeaseCall, OpenCall, in_our_terms
from serve_app.line import Line
from serve_app.news import Traffic
from serve_app.opening import Opened, Opening

logger = logging.getLogger("hal0.leases")

GROW_AGAIN_S = 5.0
"""After a further replica could not be had."""


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
    def engine(self) -> str:
        """Another one for each start of it."""
        return self.granted.endpoint.token

    @property
    def replica(self) -> str:
        return self.granted.replica

    @property
    def capacity(self) -> int:
        return self.granted.capacity

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.capacity

    @property
    def unused(self) -> bool:
        return self.in_flight + self.light == 0

    def want_back(self) -> None:
        if self.wanted_since is None:
            self.wanted_since = time.monotonic()

    def revoke(self) -> None:
        """No further request gets it, and another lease may be had on its replica."""
        self.revoked = True
        self.want_back()
        self.call.let_go()


class LeasePool:
    """All leases that one ingress holds on one slot, and the requests that wait for one. Lives on one event loop.

    `changed` is called when requests begin to wait, and when none does any more.
    """

    def __init__(self, slot: SlotSpec, open_call: OpenCall, changed: Callable[[], None] = lambda: None) -> None:
        self._slot, self._open_call, self._changed = slot, open_call, changed
        self._leases: list[Lease] = []
        self._line: Line[Lease] = Line()
        self._affinity = Affinity()
        self._running: frozenset[str] | None = None
        """The slot's replicas as far as is known."""
        self._unleased = 0
        """Of those, how many it could yet have a lease on."""
        self._openings: set[Opening] = set()
        self._followers: set[asyncio.Task[None]] = set()
        self._grow_at = 0.0
        self._closed = False
        self._refusal: Callable[[], ServingError | None] = lambda: None
        self._held = False
        self._suspect = ""
        self.answered = 0
        self.last_used: float | None = None

    def take(self, light: bool = False, prompt: Prompt | None = None) -> Lease | None:
        """A lease at once, if one can be had without waiting. Goes back by `put_back`."""
        if self._held or (self._line and not light):
            return None
        lease = self._with_room(light, prompt)
        if lease is None:
            return None
        self._taken(lease, light)
        if self._unleased > len(self._openings):
            self._open_more()
        return lease

    async def wait(self, priority: int | None = None, light: bool = False, prompt: Prompt | None = None) -> Lease:
        """A lease when there is one; raises why none can be had. Goes back by `put_back`."""
        if not self.resident and (refusal := self._refusal()) is not None:
            raise refusal
        if len(self._line) >= self._slot.max_queued:
            raise QueueFull(self._slot.name, self._slot.max_queued)
        waiter = self._line.join(self._slot.priority if priority is None else priority, light, prompt)
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
            self._stop_needless_openings()
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
        self._suspect = lease.engine
        self._revoke(lease)

    @property
    def chooses(self) -> bool:
        """Whether it matters what a request says: there are several engines."""
        return len(self._leases) > 1

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
        self._stop_needless_openings()
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
            self._stop_needless_openings()

    def replicas_changed(self, running: frozenset[str]) -> None:
        """Stop using leases on replicas that Serve is stopping; give them back when their requests are done. Wait for
        no such replica either."""
        self._running = running
        for lease in tuple(self._leases):
            if lease.replica not in running:
                self._revoke(lease)
                if lease.unused:
                    self._give_back(lease)
        for opening in self._openings:
            if opening.replica is not None and opening.replica not in running:
                opening.cancel()
        self._recount()
        self._stop_needless_openings()
        self._serve_the_line()

    async def close(self) -> None:
        self._closed = True
        for lease in tuple(self._leases):
            self._give_back(lease)
        self.refuse(lambda: LoadFailed(self._slot.name, "shutting_down", "the server is stopping"))
        if self._openings:
            await asyncio.wait([opening.task for opening in self._openings])

    def _with_room(self, light: bool, prompt: Prompt | None) -> Lease | None:
        usable = [lease for lease in self._leases if not lease.revoked and (light or lease.has_room)]
        if prompt is None or len(usable) < 2:
            chosen = min(usable, key=lambda one: one.in_flight, default=None)
        else:
            chosen = self._affinity.choose(prompt, usable)
        if chosen is not None and prompt is not None:
            self._affinity.note(prompt, chosen.engine)
        return chosen

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
            lease = self._with_room(waiter.light, waiter.prompt)
            if lease is None:
                break
            self._line.grant(waiter, self._taken(lease, waiter.light))
        self._open_more()

    def _open_more(self) -> None:
        while len(self._openings) < self._openings_wanted():
            self._openings.add(Opening(self._slot.name, self._open_call, lambda: self._suspect, self._opened))

    def _openings_wanted(self) -> int:
        """One for each replica that it has no lease on, while there are requests; without an engine at least one, since
        a call that waits is sent as soon as there is a replica. No call brings further replicas about: the policy hears
        from the board how many requests there are."""
        resident = self.resident
        at_least = 1 if self._line and not resident else 0
        if time.monotonic() < self._grow_at or not (self._line or self._in_use) or (resident and self._held):
            return at_least
        return max(at_least, self._unleased)

    @property
    def _in_use(self) -> bool:
        return any(not (lease.revoked or lease.unused) for lease in self._leases)

    def _stop_needless_openings(self) -> None:
        """Those that load beside an engine that answers go on: they will be needed again in a moment."""
        needed = self._unleased > 0 and not self._held if self.resident else bool(self._line)
        if not needed:
            for opening in self._openings:
                opening.cancel()

    def _recount(self) -> None:
        usable = {lease.replica for lease in self._leases if not lease.revoked}
        self._unleased = len((self._running or frozenset()) - usable)

    def _opened(self, opening: Opening) -> None:
        self._openings.discard(opening)
        match opening.outcome:
            case Opened() as opened:
                self._admit(opened)
            case Exception() as error:
                logger.info("slot %s gave no lease: %s", self._slot.name, error)
                self._grow_at = time.monotonic() + GROW_AGAIN_S
                if not self.resident and not self._openings:
                    self._line.refuse_all(error)
        self._serve_the_line()

    def _admit(self, opened: Opened) -> None:
        lease = Lease(opened.granted, opened.call)
        self._leases.append(lease)
        follower = asyncio.create_task(self._follow(lease, opened.items))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        if self._closed or (self._running is not None and lease.replica not in self._running):
            self._give_back(lease)
        self._recount()

    async def _follow(self, lease: Lease, items: AsyncIterator[Granted]) -> None:
        """Until the lease ends. It ends with an exception: ours for giving it back, or the slot's for losing it."""
        try:
            async for _ in items:
                pass
        except BaseException as error:
            ours = in_our_terms(self._slot.name, error)
            if not isinstance(ours, Exception):
                raise
            logger.info("slot %s: a lease ended: %s", self._slot.name, ours)
        if lease in self._leases:
            self._leases.remove(lease)
        self._revoke(lease)
        self._serve_the_line()

    def _revoke(self, lease: Lease) -> None:
        lease.revoke()
        self._recount()

    def _give_back(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
        self._revoke(lease)
        lease.call.cancel()
