"""Everything that is decided in one round, as it is being decided: who holds, leaves, starts and waits where."""

import numpy as np

from serve_app.fleet import Fleet, Rules
from serve_app.policy.ledger import Demand, Ledger, Nodes, Usage, first
from serve_app.policy.memory import Memory, Plan
from serve_app.policy.standing import Standing, counts, standings_of
from serve_app.policy.victims import Outlook, Victims

TRUST_S = 5.0
"""A replica that Serve was told to start is taken to be where it was planned for so long."""
RISK = 0.25
"""Ray chooses the node. A start waits if more than this part of its choices is kept for an overdue slot."""


class Books:
    def __init__(self, rules: Rules, fleet: Fleet, now: float, memory: Memory) -> None:
        self.rules, self.now, self.memory = rules, now, memory
        self.standings = {one.name: one for one in standings_of(rules, fleet)}
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
        self.ledger = self._opened(fleet)
        self._overdue: Nodes = np.zeros(len(self.ledger.nodes), dtype=np.bool_)
        self._demands: dict[str, Demand] = {}
        self._victims: Victims | None = None
        for one in self.standings.values():
            if one.starting:
                self._enter_starting(one)

    def demand(self, slot: str) -> Demand:
        if slot not in self._demands:
            one = self.standings[slot]
            self._demands[slot] = self.ledger.demand(one.rule.claim, one.seen.needs)
        return self._demands[slot]

    # What is there.

    def _opened(self, fleet: Fleet) -> Ledger:
        used, leaving, owed = Usage(), Usage(), Usage()
        row = {name: index for index, name in enumerate(fleet.nodes)}
        columns: set[str] = set()
        for one in self.standings.values():
            amounts = one.amounts
            columns.update(amounts)
            for node in (*one.live, *one.leaving):
                if node in row:
                    used.add(node, amounts)
                    self.holders.setdefault(row[node], []).append(one.name)
            if one.leaving:
                self._enter_leaving(one, leaving)
            if one.floor or len(one.live) > one.target:
                for node, count in counts(one.live).items():
                    leaving.add(node, amounts, max(0, count - one.target))
                    owed.add(node, amounts, min(count, one.floor))
        return Ledger(fleet.nodes, sorted(columns), used, leaving, owed)

    def _enter_leaving(self, one: Standing, leaving: Usage) -> None:
        if not one.target:
            self.going.add(one.name)
        for node in one.leaving:
            leaving.add(node, one.amounts)

    def _enter_starting(self, one: Standing) -> None:
        """Nobody knows yet where a replica that starts will be; the plan is the best guess."""
        plans = unseen(self.memory.plans.get(one.name, ()), one, self.now)
        self.plans[one.name] = tuple(self._entered(one, plan) for plan in plans)

    def _entered(self, one: Standing, plan: Plan) -> Plan:
        demand = self.demand(one.name)
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
        demand = self.demand(one.name)
        self.ledger.occupy(demand, row)
        self.holders.setdefault(row, []).append(one.name)
        if one.floor:
            self.ledger.keep(demand, row)

    @property
    def victims(self) -> Victims:
        """Of those that nothing has been decided for yet."""
        if self._victims is None:
            undecided = (one for name, one in self.standings.items() if one.live and name not in self.targets)
            outlook = Outlook(self.rules.turn_s, self.memory.yielding, self.now)
            self._victims = Victims(self.ledger, undecided, outlook)
        return self._victims

    # What is decided.

    def room_now(self, one: Standing) -> int | None:
        """A node where it can start at once, unless Ray might well put it where others must come first."""
        demand = self.demand(one.name)
        fitting = self.ledger.fits_now(demand)
        if not fitting.any():
            return None
        possible = self.ledger.could_land(demand)
        risky = possible & ~fitting & self._overdue
        return first(fitting) if risky.sum() <= RISK * possible.sum() else None

    def start(self, one: Standing, row: int) -> None:
        self._occupy(one, row)
        self.targets[one.name] = one.target + 1
        self.plans[one.name] = (*self.plans.get(one.name, ()), Plan(self.ledger.nodes[row], self.now))

    def reserve(self, one: Standing, row: int, overdue: bool) -> None:
        demand = self.demand(one.name)
        self.ledger.reserve(demand, row)
        self.kept.setdefault(row, []).append(one.name)
        self._overdue[row] |= overdue
        if one.floor:
            self.ledger.keep(demand, row)

    def dismiss(self, one: Standing) -> None:
        """All of it is to leave: for its own sake, not for another's."""
        self.targets[one.name] = 0
        self.going.add(one.name)
        for node, count in counts(one.live).items():
            if (row := self.ledger.row.get(node)) is not None:
                self.ledger.vacate(min(count, one.target) * self.demand(one.name).amounts[row], row)

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
    left = left[: one.starting]
    return (*left, *(Plan("", now) for _ in range(one.starting - len(left))))
