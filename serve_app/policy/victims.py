"""The slots that may be given up, what each would free on which node, and what that costs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from serve_app.policy.eviction import TOLERANCE, cheapest_sufficient
from serve_app.policy.ledger import Demand, Ledger, Room, Rows, fit_at, lacking
from serve_app.policy.standing import Standing, counts

YIELD_SETTLES_S = 0.5
"""What is in flight is known for sure only when the ingresses have heard that they must hold requests back."""

# Costs are in tiers far apart, so that no number of slots of one tier costs as much as one slot of the next.
GIVING_WAY = 1e5
TURN_OVER = 1e8
IN_ITS_TURN = 1e11


class Prospect(NamedTuple):
    """How a slot may be lost. `ready`: at once. `idle`: to anybody; else only to one that has waited for its turn.
    `turn_over`: it must give way, once asked; else its turn has to end first."""

    cost: float
    ready: bool
    idle: bool
    turn_over: bool


def is_idle(standing: Standing, now: float) -> bool:
    settled = not standing.busy and not standing.loading and not standing.starting
    return settled and standing.quiet_s(now) >= standing.grace_s


def prospect(standing: Standing, turn_s: float, yielding_since: float | None, now: float) -> Prospect:
    loss = standing.loss(now)
    if is_idle(standing, now):
        return Prospect(loss, True, True, True)
    ends = now + turn_s if standing.starting else standing.turn_ends(turn_s, now)
    if ends > now:
        return Prospect(IN_ITS_TURN * (1.0 + ends - now) + loss, False, False, False)
    if yielding_since is None:
        return Prospect(TURN_OVER + loss, False, False, True)
    asked_s = max(0.0, now - yielding_since)
    ready = not standing.seen.in_flight and asked_s >= YIELD_SETTLES_S
    # Whom one who waits has asked, it goes on asking.
    return Prospect(GIVING_WAY * (1.0 + 1.0 / (1.0 + asked_s)) + loss, ready, False, True)


class Outlook(NamedTuple):
    """How slots may be lost at one moment."""

    turn_s: float
    yielding: Mapping[str, float]
    now: float

    def idle(self, standing: Standing) -> bool:
        return is_idle(standing, self.now)

    def of(self, standing: Standing) -> Prospect:
        return prospect(standing, self.turn_s, self.yielding.get(standing.name), self.now)


class Victim(NamedTuple):
    """What giving `slot` up frees on one node, a figure for each column of the ledger. It may live on several nodes."""

    slot: str
    row: int
    frees: tuple[float, ...]
    prospect: Prospect


class Sought(NamedTuple):
    """Room for so many stages, each of which takes `demand`. `detours`: what it costs to be on each node."""

    demand: Demand
    stages: int = 1
    detours: Room | None = None


class Clearing(NamedTuple):
    """Giving up `slots` makes room for a stage on each of `rows`."""

    rows: Rows
    slots: tuple[str, ...]


class Pool:
    """Victims by node, the cheapest first, with what the first, the first two, ... of each node free together."""

    def __init__(self, ledger: Ledger, victims: Iterable[Victim]) -> None:
        self._by_row: list[list[Victim]] = [[] for _ in ledger.nodes]
        for victim in victims:
            self._by_row[victim.row].append(victim)
        width = max(1, max((len(there) for there in self._by_row), default=1))
        self._costs: Room = np.full((len(ledger.nodes), width), inf)
        self._sums: Room = np.zeros((len(ledger.nodes), width, len(ledger.columns)))
        for there in self._by_row:
            there.sort(key=_cost)
        ranked = [(row, place, victim) for row, there in enumerate(self._by_row) for place, victim in enumerate(there)]
        if ranked:
            rows, places, all_victims = zip(*ranked, strict=True)
            self._costs[rows, places] = [victim.prospect.cost for victim in all_victims]
            self._sums[rows, places] = [victim.frees for victim in all_victims]
            self._sums.cumsum(axis=1, out=self._sums)

    def on(self, row: int) -> Sequence[Victim]:
        return self._by_row[row]

    def remove(self, victim: Victim) -> None:
        left = [other for other in self._by_row[victim.row] if other.slot != victim.slot]
        self._by_row[victim.row] = left
        self._costs[victim.row] = inf
        self._sums[victim.row] = 0.0
        if left:
            self._costs[victim.row, : len(left)] = [other.prospect.cost for other in left]
            self._sums[victim.row, : len(left)] = np.cumsum([other.frees for other in left], axis=0)

    def promising(self, lack: Room, detours: Room | None) -> Iterable[tuple[int, float]]:
        """The nodes where the victims suffice, and a bound on what that costs, the best first: if the cheapest three
        do not suffice but the cheapest four do, then no set suffices without the fourth or a dearer one."""
        suffices = (lack[:, None, :] <= self._sums + TOLERANCE).all(axis=2)
        place = suffices.argmax(axis=1)[:, None]
        enough = np.take_along_axis(suffices, place, axis=1)
        bounds = np.where(enough, np.take_along_axis(self._costs, place, axis=1), inf)[:, 0]
        bounds[(lack <= TOLERANCE).all(axis=1)] = 0.0
        if detours is not None:
            bounds += detours
        rows = np.nonzero(bounds < inf)[0]
        order = rows[np.argsort(bounds[rows], kind="stable")]
        return zip(order.tolist(), bounds[order].tolist(), strict=True)


def _cost(victim: Victim) -> float:
    return victim.prospect.cost


class Victims:
    def __init__(self, ledger: Ledger, standings: Iterable[Standing], outlook: Outlook) -> None:
        self._ledger = ledger
        self._outlook = outlook
        self._left = {one.name: one for one in standings}
        self._known: dict[str, list[Victim]] = {}
        self._pools: dict[bool, Pool] = {}

    def of(self, slot: str) -> list[Victim]:
        if slot not in self._known:
            one = self._left.get(slot)
            self._known[slot] = [] if one is None else _victims(self._ledger, one, self._outlook.of(one))
        return self._known[slot]

    def pool(self, idle_only: bool) -> Pool:
        """All are looked at only if somebody's turn has come."""
        if idle_only not in self._pools:
            names = (one.name for one in self._left.values() if not idle_only or self._outlook.idle(one))
            self._pools[idle_only] = Pool(self._ledger, (victim for name in names for victim in self.of(name)))
        return self._pools[idle_only]

    def take(self, slot: str) -> list[Victim]:
        """Nobody else may have it."""
        taken = self.of(slot)
        self._left.pop(slot, None)
        self._known[slot] = []
        for victim in taken:
            for pool in self._pools.values():
                pool.remove(victim)
        return taken

    def cheapest(
        self, sought: Sought, rivals: Iterable[str], spared: frozenset[str], idle_only: bool
    ) -> Clearing | None:
        """The cheapest way to room for what is sought, one stage after the other. `rivals` must go in any case,
        `spared` stay in any case."""
        forced = tuple(rivals)
        if not all(self.of(name) and (self.of(name)[0].prospect.idle or not idle_only) for name in forced):
            return None
        found: Clearing | None = Clearing((), forced)
        for _ in range(sought.stages):
            if found is not None:
                found = self._one_more(sought, found, spared, self.pool(idle_only))
        return found if found is None or sought.stages == 1 else self._without_waste(sought.demand, found, forced)

    def _one_more(self, sought: Sought, so_far: Clearing, spared: frozenset[str], pool: Pool) -> Clearing | None:
        """Room for one more stage."""
        lack = lacking(sought.demand, self._room(sought.demand, so_far))
        best, best_cost = None, inf
        for row, bound in pool.promising(lack, sought.detours):
            if bound >= best_cost:
                break
            choice = [v for v in pool.on(row) if v.slot not in spared and v.slot not in so_far.slots]
            costs = [victim.prospect.cost for victim in choice]
            detour = 0.0 if sought.detours is None else float(sought.detours[row])
            limit = best_cost - detour
            found = cheapest_sufficient(costs, [victim.frees for victim in choice], lack[row].tolist(), limit)
            if found is not None:
                slots = (*so_far.slots, *sorted(choice[index].slot for index in found))
                best = Clearing((*so_far.rows, row), slots)
                best_cost = detour + sum(costs[index] for index in found)
        return best

    def _room(self, demand: Demand, clearing: Clearing) -> Room:
        """What is free when these slots have gone and these stages are there."""
        gone = [victim for name in clearing.slots for victim in self.of(name)]
        return self._ledger.after(gone, demand, clearing.rows)

    def _without_waste(self, demand: Demand, clearing: Clearing, forced: tuple[str, ...]) -> Clearing:
        """What went for one stage may be more than enough beside what went for the next one."""
        kept = clearing.slots
        for name in sorted(set(kept).difference(forced), key=lambda slot: -self.of(slot)[0].prospect.cost):
            fewer = tuple(slot for slot in kept if slot != name)
            if fit_at(demand, self._room(demand, Clearing((), fewer)), clearing.rows):
                kept = fewer
        return Clearing(clearing.rows, kept)


def _victims(ledger: Ledger, one: Standing, outlook: Prospect) -> list[Victim]:
    """Which of several replicas Serve stops is its own choice: what is freed on a node is only what is certain."""
    found = []
    for node, count in counts(one.live).items():
        row = ledger.row.get(node)
        spare = min(count, one.target_stages) - one.floor_stages
        if row is not None and spare > 0:
            frees = ledger.figures(one.amounts)
            found.append(Victim(one.name, row, frees if spare == 1 else tuple(spare * f for f in frees), outlook))
    return found
