"""Everything that is decided in one round, as it is being decided: who holds, leaves, starts and waits where."""

from collections.abc import Mapping

import numpy as np

from serve_app.fleet import Fleet, Rules
from serve_app.ledger import Demand, Ledger, Nodes, first
from serve_app.memory import Memory, Plan
from serve_app.standing import Standing, counts, standings_of
from serve_app.victims import Victims, prospect

TRUST_S = 5.0
"""A replica that Serve was told to start is taken to be where it was planned for so long."""
RISK = 0.25
"""Ray chooses the node. A start waits if more than this part of its choices is kept for an overdue slot."""


class Books:
    def __init__(self, rules: Rules, fleet: Fleet, now: float, memory: Memory) -> None:
        self.rules, self.now, self.memory = rules, now, memory
        self.standings = {one.name: one for one in standings_of(rules, fleet)}
        self.ledger = Ledger(fleet.nodes, _columns(self.standings))
        self.demands = {name: self._demand(one) for name, one in self.standings.items()}
        self.targets: dict[str, int] = {}
        self.plans: dict[str, tuple[Plan, ...]] = {}
        self.stranded: set[str] = set()
        self.yielding: set[str] = set()
        self.going: set[str] = set()
        """Slots of which nothing will be left: told to leave, now or before."""
        self.claimed: set[str] = set()
        """Slots whose places are promised to others."""
        self.holders: dict[int, list[str]] = {}
        self.kept: dict[int, list[str]] = {}
        """The slots that wait for room on a node and have it reserved."""
        self._overdue: Nodes = np.zeros(len(self.ledger.nodes), dtype=np.bool_)
        self._victims: Victims | None = None
        for one in self.standings.values():
            self._enter(one)
        for one in self.standings.values():
            if one.starting:
                self._enter_starting(one)

    def _demand(self, one: Standing) -> Demand:
        return self.ledger.demand(one.rule.claim, one.seen.needs)

    # What is there.

    def _enter(self, one: Standing) -> None:
        demand, ledger = self.demands[one.name], self.ledger
        if one.leaving and not one.target:
            self.going.add(one.name)
        for node in (*one.live, *one.leaving):
            if (row := ledger.row.get(node)) is not None:
                ledger.occupy(demand, row)
                self.holders.setdefault(row, []).append(one.name)
        for node in one.leaving:
            if (row := ledger.row.get(node)) is not None:
                ledger.vacate(ledger.at(demand, row), row)
        if one.floor or len(one.live) > one.target:
            for node, count in counts(one.live).items():
                if (row := ledger.row.get(node)) is not None:
                    ledger.vacate(max(0, count - one.target) * ledger.at(demand, row), row)
                    ledger.keep(min(count, one.floor) * ledger.at(demand, row), row)

    def _enter_starting(self, one: Standing) -> None:
        """Nobody knows yet where a replica that starts will be; the plan is the best guess."""
        plans = unseen(self.memory.plans.get(one.name, ()), one, self.now)
        self.plans[one.name] = tuple(self._entered(one, plan) for plan in plans)

    def _entered(self, one: Standing, plan: Plan) -> Plan:
        demand = self.demands[one.name]
        row = self.ledger.row.get(plan.node)
        trusted = row is not None and self.now - plan.since < TRUST_S
        fitting = self.ledger.fits_now(demand)
        if row is None or not (trusted or fitting[row]):
            row = first(fitting)
        if row is None:
            if self.now - plan.since >= TRUST_S:
                self.stranded.add(one.name)
            return plan
        self._occupy(one, row)
        return Plan(self.ledger.nodes[row], plan.since)

    def _occupy(self, one: Standing, row: int) -> None:
        demand = self.demands[one.name]
        self.ledger.occupy(demand, row)
        self.holders.setdefault(row, []).append(one.name)
        if one.floor:
            self.ledger.keep(self.ledger.at(demand, row), row)

    @property
    def victims(self) -> Victims:
        if self._victims is None:
            self._victims = Victims(self.ledger)
            for name, one in self.standings.items():
                if one.live and name not in self.going and name not in self.targets:
                    since = self.memory.yielding.get(name)
                    outlook = prospect(one, self.rules.turn_s, since, self.now)
                    self._victims.add(one, self.demands[name], outlook)
        return self._victims

    # What is decided.

    def room_now(self, one: Standing) -> int | None:
        """A node where it can start at once, unless Ray might well put it where others must come first."""
        demand = self.demands[one.name]
        fitting = self.ledger.fits_now(demand)
        possible = self.ledger.could_land(demand)
        risky = possible & ~fitting & self._overdue
        return first(fitting) if risky.sum() <= RISK * possible.sum() else None

    def start(self, one: Standing, row: int) -> None:
        self._occupy(one, row)
        self.targets[one.name] = one.target + 1
        self.plans[one.name] = (*self.plans.get(one.name, ()), Plan(self.ledger.nodes[row], self.now))

    def reserve(self, one: Standing, row: int, overdue: bool) -> None:
        demand = self.demands[one.name]
        self.ledger.reserve(demand, row)
        self.kept.setdefault(row, []).append(one.name)
        self._overdue[row] |= overdue
        if one.floor:
            self.ledger.keep(self.ledger.at(demand, row), row)

    def dismiss(self, one: Standing) -> None:
        """All of it is to leave: for its own sake, not for another's."""
        self.targets[one.name] = 0
        self.going.add(one.name)
        for node, count in counts(one.live).items():
            if (row := self.ledger.row.get(node)) is not None:
                self.ledger.vacate(min(count, one.target) * self.ledger.at(self.demands[one.name], row), row)

    def claim(self, slot: str) -> None:
        """Its place is promised to another."""
        self.claimed.add(slot)
        for victim in self.victims.take(slot):
            self.ledger.vacate(victim.frees, victim.row)

    def evict(self, slot: str) -> None:
        """After `claim`."""
        floor = self.standings[slot].floor
        self.targets[slot] = floor
        if not floor:
            self.going.add(slot)


def unseen(plans: tuple[Plan, ...], one: Standing, now: float) -> tuple[Plan, ...]:
    """A plan for each replica that starts: those whose replicas have shown up are dropped, missing ones made up."""
    left = list(plans)
    for node in one.live:
        met = next((plan for plan in left if plan.node == node), None)
        if met is not None and len(left) > one.starting:
            left.remove(met)
    left = left[len(left) - one.starting :] if len(left) > one.starting else left
    return (*left, *(Plan("", now) for _ in range(one.starting - len(left))))


def _columns(standings: Mapping[str, Standing]) -> list[str]:
    """The resources that matter."""
    named = {name for one in standings.values() for name in (*one.rule.claim, *one.seen.needs)}
    return sorted(named)
