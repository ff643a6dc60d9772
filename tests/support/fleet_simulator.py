"""Serve, Ray, the board and the ingresses, as far as the policy can tell them from the real ones; time is simulated.

Targets act after a delay; Ray starts a replica where it was planned, and if its claim is not free there on any node
where it is, or when it is; a replica is seen only after a while, loads, and leaves when its requests are done and some
time has passed; the board tells everything late. The stages of a replica start together, or not at all. Nothing happens
between events, so that a day takes as long as its decisions.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from serve_app.fleet import Decision, Fleet, NodeSeen, Phase, ReplicaSeen, Rules, SlotSeen
from serve_app.policy.eviction import TOLERANCE
from serve_app.policy.scheduling import Scheduler


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `cooldown_s`: from a failed load to the next try; `tick_s`, `waiting_tick_s`: between decisions when
    nothing happens, and when somebody waits."""

    appears_s: float = 1.5
    leaves_s: float = 0.5
    board_lag_s: float = 0.3
    cooldown_s: float = 10.0
    tick_s: float = 15.0
    waiting_tick_s: float = 0.5
    together_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float
    slot: str
    lasts_s: float


@dataclass(slots=True, eq=False)
class Replica:
    slot: str
    planned: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    phase: Phase = Phase.LOADING
    listed: bool = False
    in_flight: int = 0


@dataclass(slots=True)
class SlotTruth:
    load_s: float
    needs: Mapping[str, float]
    pinned: bool = False
    wanted: bool = False
    unwanted: bool = False
    fails: int = 0
    """So many of its next loads fail."""
    replicas: list[Replica] = field(default_factory=list)
    queue: deque[Arrival] = field(default_factory=deque)
    last_used: float | None = None
    loaded_at: float | None = None
    known_load_s: float | None = None
    next_try: float | None = None
    starved_since: float | None = None
    ahead: int = 0

    @property
    def running(self) -> list[Replica]:
        return [one for one in self.replicas if one.phase is not Phase.LEAVING]

    @property
    def in_flight(self) -> int:
        return sum(one.in_flight for one in self.replicas)


@dataclass(frozen=True, slots=True)
class Starved:
    """A slot with waiting requests and none in flight waited for so long; `ahead` others waited when it began."""

    slot: str
    waited_s: float
    ahead: int


Decided = Callable[["FleetSimulator", Fleet, Decision], None]
"""Called with each decision, before it acts."""


class FleetSimulator:
    def __init__(
        self,
        rules: Rules,
        nodes: Mapping[str, NodeSeen],
        slots: Mapping[str, SlotTruth],
        chance: Random,
        timing: Timing | None = None,
        decided: Decided = lambda *_: None,
    ) -> None:
        self.rules, self.nodes, self.slots = rules, nodes, slots
        self.timing = timing or Timing()
        self.scheduler = Scheduler(rules)
        self.now = 0.0
        self.targets = {name: 0 for name in rules.slots}
        self.seen: dict[str, SlotSeen] = {}
        self.held: frozenset[str] = frozenset()
        self.starved: list[Starved] = []
        self.stops = self.starts = self.arrived = self.answered = self.never_placed = self.longest_queue = 0
        self._used = {name: dict.fromkeys(node.total, 0.0) for name, node in nodes.items()}
        self._pending: list[Replica] = []
        self._chance = chance
        self._decided = decided
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._last: Decision = Decision({}, {}, frozenset())
        for name in slots:
            self._tell(name)

    # Time.

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), act))

    def expect(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            self.after(arrival.at - self.now, partial(self._arrive, arrival))

    def run(self, until: float) -> None:
        while self.now < until:
            self.tick()
            pause = self.timing.waiting_tick_s if self._last.waits else self.timing.tick_s
            wake = min(until, self.now + pause)
            if self._events and self._events[0][0] < wake:
                wake = min(wake, self._events[0][0] + self.timing.together_s)
            while self._events and self._events[0][0] <= wake:
                self.now, _, act = heapq.heappop(self._events)
                act()
            self.now = wake

    def tick(self) -> None:
        fleet = Fleet(dict(self.seen), self.nodes, dict(self.targets))
        decision = self.scheduler.decide(fleet, self.now)
        self._decided(self, fleet, decision)
        if decision.yielding != self._last.yielding:
            self.after(self.timing.board_lag_s, partial(self._hear, decision.yielding))
        self._last = decision
        for name, target in decision.targets.items():
            self._aim(name, target, decision.places.get(name, ()))

    # Serve and Ray.

    def _aim(self, name: str, target: int, places: tuple[str, ...]) -> None:
        slot = self.slots[name]
        if not slot.running and slot.queue:
            target = max(1, target)
        self.targets[name] = target
        while len(slot.running) > target:
            self._stop(self._chance.choice(slot.running))
        while len(slot.running) < target:
            replica, places = Replica(name, places), ()
            slot.replicas.append(replica)
            self.starts += 1
            if not self._land(replica):
                self.never_placed += 1
                self._pending.append(replica)

    def _land(self, replica: Replica) -> bool:
        rule = self.rules.slots[replica.slot]
        if replica.planned and self._room(replica.planned, rule.claim):
            replica.nodes = replica.planned
        else:
            for _ in range(rule.stages):
                free = [node for node in self.nodes if self._room((*replica.nodes, node), rule.claim)]
                replica.nodes = (*replica.nodes, self._chance.choice(free)) if free else ()
                if not free:
                    return False
        self._use(replica, 1)
        self.after(self.timing.appears_s, partial(self._appear, replica))
        return True

    def _room(self, nodes: tuple[str, ...], claim: Mapping[str, float]) -> bool:
        return all(
            self._used[node].get(resource, 0.0) + nodes.count(node) * amount
            <= self.nodes[node].total.get(resource, 0.0) + TOLERANCE
            for node in set(nodes)
            for resource, amount in claim.items()
        )

    def _use(self, replica: Replica, times: int) -> None:
        for node in replica.nodes:
            for resource, amount in self.rules.slots[replica.slot].claim.items():
                self._used[node][resource] += times * amount

    def _appear(self, replica: Replica) -> None:
        if replica.phase is Phase.LEAVING:
            return
        replica.listed = True
        self._tell(replica.slot)
        self.after(self.slots[replica.slot].load_s, partial(self._loaded, replica))

    def _loaded(self, replica: Replica) -> None:
        slot = self.slots[replica.slot]
        if replica.phase is Phase.LEAVING:
            return
        slot.wanted = False
        if slot.fails:
            slot.fails -= 1
            replica.phase, slot.next_try = Phase.FAILED, self.now + self.timing.cooldown_s
        else:
            if not any(one.phase is Phase.READY for one in slot.replicas):
                slot.loaded_at = self.now
            replica.phase, slot.known_load_s, slot.next_try = Phase.READY, slot.load_s, None
        self._serve(replica.slot)

    def _stop(self, replica: Replica) -> None:
        self.stops += 1
        replica.phase = Phase.LEAVING
        if replica in self._pending:
            self._pending.remove(replica)
        self._leave_if_done(replica)
        self._tell(replica.slot)

    def _leave_if_done(self, replica: Replica) -> None:
        if replica.phase is Phase.LEAVING and not replica.in_flight:
            self.after(self.timing.leaves_s, partial(self._gone, replica))

    def _gone(self, replica: Replica) -> None:
        slot = self.slots[replica.slot]
        slot.replicas.remove(replica)
        self._use(replica, -1)
        if not slot.replicas:
            slot.unwanted = False
        self._tell(replica.slot)
        self._pending = [one for one in self._pending if not self._land(one)]

    # The ingresses.

    def _arrive(self, arrival: Arrival) -> None:
        self.arrived += 1
        queue = self.slots[arrival.slot].queue
        queue.append(arrival)
        self.longest_queue = max(self.longest_queue, len(queue))
        self._serve(arrival.slot)

    def _hear(self, yielding: frozenset[str]) -> None:
        released = self.held - yielding
        self.held = yielding
        for name in released:
            self._serve(name)

    def _serve(self, name: str) -> None:
        slot = self.slots[name]
        room = self.rules.slots[name].parallel_requests
        for replica in slot.replicas:
            while replica.phase is Phase.READY and replica.in_flight < room and slot.queue and name not in self.held:
                arrival = slot.queue.popleft()
                replica.in_flight += 1
                self._fed(name)
                self.after(arrival.lasts_s, partial(self._answered, replica))
        if slot.queue and not slot.in_flight and slot.starved_since is None:
            slot.starved_since = self.now
            slot.ahead = sum(one.starved_since is not None for one in self.slots.values()) - 1
        self._tell(name)

    def _fed(self, name: str) -> None:
        slot = self.slots[name]
        if slot.starved_since is not None:
            self.starved.append(Starved(name, self.now - slot.starved_since, slot.ahead))
            slot.starved_since = None

    def _answered(self, replica: Replica) -> None:
        replica.in_flight -= 1
        self.answered += 1
        self.slots[replica.slot].last_used = self.now
        self._leave_if_done(replica)
        self._serve(replica.slot)

    # People, and the board.

    def unload(self, name: str) -> None:
        self.slots[name].unwanted = bool(self.slots[name].replicas)
        self._tell(name)

    def pin(self, name: str, pinned: bool) -> None:
        self.slots[name].pinned = pinned
        self._tell(name)

    def want(self, name: str) -> None:
        self.slots[name].wanted = True
        self._tell(name)

    def _tell(self, name: str) -> None:
        self.after(self.timing.board_lag_s, partial(self._told, name, self._view(name)))

    def _told(self, name: str, seen: SlotSeen | None) -> None:
        if seen is None:
            self.seen.pop(name, None)
        else:
            self.seen[name] = seen

    def _view(self, name: str) -> SlotSeen | None:
        slot = self.slots[name]
        floor = slot.pinned or self.rules.slots[name].min_replicas
        if not (slot.replicas or slot.queue or slot.wanted or slot.unwanted or floor):
            return None
        listed = [one for one in slot.replicas if one.listed and one.nodes]
        return SlotSeen(
            replicas=tuple(ReplicaSeen(one.nodes[0], one.phase, one.nodes[1:]) for one in listed),
            in_flight=slot.in_flight,
            queued=len(slot.queue),
            queued_since=slot.queue[0].at if slot.queue else None,
            last_used=slot.last_used,
            loaded_at=slot.loaded_at,
            load_s=slot.known_load_s,
            priority=self.rules.slots[name].priority,
            pinned=slot.pinned,
            wanted=slot.wanted,
            unwanted=slot.unwanted,
            next_try=slot.next_try,
            needs=slot.needs,
        )
