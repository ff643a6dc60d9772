"""The slots that may be given up, what each would free on which node, and what that costs. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from serve_app.eviction import TOLERANCE, cheapest_sufficient
from serve_app.ledger import Demand, Ledger, Room
from serve_app.standing import Standing, counts

YIELD_SETTLES_S = 0.5
"""What is in flight is known for sure only when the ingresses have heard that they must hold requests back."""

# Costs are in tiers far apart, so that no number of slots of one tier costs as much as one slot of the next.
GIVING_WAY = 1e5
TURN_OVER = 1e8
IN_ITS_TURN = 1e11


@dataclass(frozen=True, slots=True)
class Prospect:
    """How a slot may be lost. `ready`: at once. `idle`: to anybody; else only to one that has waited for its turn.
    `turn_over`: it must give way, once asked; else its turn has to end first."""

    cost: float
    ready: bool
    idle: bool
    turn_over: bool


def prospect(standing: Standing, turn_s: float, yielding_since: float | None, now: float) -> Prospect:
    settled = not standing.loading and not standing.starting
    loss = standing.loss(now)
    if settled and not standing.busy and standing.quiet_s(now) >= standing.grace_s:
        return Prospect(loss, ready=True, idle=True, turn_over=True)
    left_s = max(0.0, standing.turn_ends(turn_s, now) - now) if settled else turn_s
    if left_s > 0:
        return Prospect(IN_ITS_TURN * (1.0 + left_s) + loss, ready=False, idle=False, turn_over=False)
    if yielding_since is None:
        return Prospect(TURN_OVER + loss, ready=False, idle=False, turn_over=True)
    ready = not standing.seen.in_flight and now - yielding_since >= YIELD_SETTLES_S
    return Prospect(GIVING_WAY + loss, ready, idle=False, turn_over=True)


@dataclass(frozen=True, slots=True)
class Victim:
    """What giving `slot` up frees on one node. It may live on several."""

    slot: str
    row: int
    frees: Room
    prospect: Prospect


@dataclass(frozen=True, slots=True)
class Clearing:
    """Giving up `slots` makes room on the node of `row`."""

    row: int
    slots: tuple[str, ...]


class Victims:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._by_slot: dict[str, list[Victim]] = {}
        self._by_row: dict[int, dict[str, Victim]] = {}
        self._idle_room = np.zeros_like(ledger.total)
        self._any_room = np.zeros_like(ledger.total)

    def add(self, standing: Standing, demand: Demand, outlook: Prospect) -> None:
        """Which of several replicas Serve stops is its own choice: what is freed on a node is only what is certain."""
        for node, count in counts(standing.live).items():
            row = self._ledger.row.get(node)
            spare = min(count, standing.target) - standing.floor
            if row is None or spare <= 0:
                continue
            victim = Victim(standing.name, row, spare * self._ledger.at(demand, row), outlook)
            self._by_slot.setdefault(standing.name, []).append(victim)
            self._by_row.setdefault(row, {})[standing.name] = victim
            self._count(victim, 1)

    def _count(self, victim: Victim, sign: int) -> None:
        self._any_room[victim.row] += sign * victim.frees
        if victim.prospect.idle:
            self._idle_room[victim.row] += sign * victim.frees

    def of(self, slot: str) -> list[Victim]:
        return self._by_slot.get(slot, [])

    def on(self, row: int) -> Iterable[Victim]:
        return self._by_row.get(row, {}).values()

    def take(self, slot: str) -> list[Victim]:
        """Nobody else may have it."""
        taken = self._by_slot.pop(slot, [])
        for victim in taken:
            del self._by_row[victim.row][slot]
            self._count(victim, -1)
        return taken

    def cheapest(
        self, demand: Demand, rivals: Iterable[str], spared: frozenset[str], idle_only: bool
    ) -> Clearing | None:
        """The cheapest way to room for `demand`. `rivals` must go in any case, `spared` stay in any case."""
        forced = {name: self.of(name) for name in rivals}
        if not all(self._eligible(victims, idle_only) for victims in forced.values()):
            return None
        later = self._later_without(forced)
        needed = self._ledger.everywhere(demand)
        lack = np.where(needed > 0, needed - later, 0.0)
        room = self._idle_room if idle_only else self._any_room
        feasible = np.nonzero((lack - room <= TOLERANCE).all(axis=1))[0].tolist()
        best, best_cost = None, inf
        for bound, row in sorted((self._bound(row, lack[row], idle_only), row) for row in feasible):
            if bound >= best_cost:
                break
            eligible = [
                victim
                for victim in self.on(row)
                if victim.slot not in spared and victim.slot not in forced and (victim.prospect.idle or not idle_only)
            ]
            costs = [victim.prospect.cost for victim in eligible]
            found = cheapest_sufficient(costs, [v.frees.tolist() for v in eligible], lack[row].tolist(), best_cost)
            if found is not None:
                best = Clearing(row, (*forced, *(eligible[index].slot for index in found)))
                best_cost = sum(costs[index] for index in found)
        return best

    @staticmethod
    def _eligible(victims: list[Victim], idle_only: bool) -> bool:
        return bool(victims) and all(victim.prospect.idle or not idle_only for victim in victims)

    def _later_without(self, forced: Mapping[str, list[Victim]]) -> Room:
        if not forced:
            return self._ledger.later
        later = self._ledger.later.copy()
        for victims in forced.values():
            for victim in victims:
                later[victim.row] += victim.frees
        return later

    def _bound(self, row: int, lack: Room, idle_only: bool) -> float:
        """No set of the node's victims that suffices costs less."""
        if (lack <= TOLERANCE).all():
            return 0.0
        costs = [v.prospect.cost for v in self.on(row) if v.prospect.idle or not idle_only]
        return min(costs, default=0.0)
