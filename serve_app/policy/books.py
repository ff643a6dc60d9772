"""Everything that is decided in one round, as it is being decided: who holds, leaves, starts and waits where."""

import numpy as np

from serve_app.fleet import Fleet, Rules
from serve_app.policy.ledger import Demand, Ledger, Nodes, Room, Rows, Usage, choose, fit_at
from serve_app.policy.memory import Memory, Plan
from serve_app.policy.standing import Standing, counts, standings_of
from serve_app.policy.victims import Outlook, Victims

TRUST_S = 5.0
"""A replica that Serve was told to start is taken to be where it was planned for so long."""
PULL_S = 60.0
"""To load a slot where its files are not takes longer by so much and more: they come over the network first. What it
costs to lose other slots is in seconds of their loads, too."""


class Books:
    def __init__(self, rules: Rules, fleet: Fleet, now: float, memory: Memory) -> None:
        self.rules, self.now, self.memory = rules, now, memory
        self.standings = {one.name: one for one in standings_of(rules, fleet)}
        self.targets: dict[str, int] = {}
        self.plans: dict[str, tuple[Plan, ...]] = {}
        self.places: dict[str, tuple[str, ...]] = {}
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
        self._demands: dict[str, Demand] = {}
        self._homes: dict[str, Nodes | None] = {}
        self._victims: Victims | None = None
        for one in self.standings.values():
            if one.starting:
                self._enter_starting(one)

    def demand(self, slot: str) -> Demand:
        if slot not in self._demands:
            one = self.standings[slot]
            self._demands[slot] = self.ledger.demand(one.rule.claim, one.seen.needs)
        return self._demands[slot]

    def homes(self, one: Standing) -> Nodes | None:
        """The nodes that have its files; None if none is known to."""
        if not one.seen.homes:
            return None
        if one.name not in self._homes:
            rows = [self.ledger.row[node] for node in one.seen.homes if node in self.ledger.row]
            homes = np.zeros(len(self.ledger.nodes), dtype=np.bool_)
            homes[rows] = True
            self._homes[one.name] = homes if rows else None
        return self._homes[one.name]

    def pulls(self, one: Standing) -> Room | None:
        """What it costs on each node to bring its files there; None if that is the same everywhere."""
        homes = self.homes(one)
        return None if homes is None else np.where(homes, 0.0, PULL_S)

    def rows(self, one: Standing, room: Room) -> Rows | None:
        """Nodes with room for one replica, those with its files first; None if there are none."""
        return choose(self.demand(one.name), room, one.rule.stages, self.homes(one))

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
            if one.floor or one.replicas > one.target:
                for node, count in counts(one.live).items():
                    leaving.add(node, amounts, max(0, count - one.target_stages))
                    owed.add(node, amounts, min(count, one.floor_stages))
        return Ledger(fleet.nodes, sorted(columns), used, leaving, owed)

    def _enter_leaving(self, one: Standing, leaving: Usage) -> None:
        if not one.target:
            self.going.add(one.name)
        for node in one.leaving:
            leaving.add(node, one.amounts)

    def _enter_starting(self, one: Standing) -> None:
        """A replica that starts is where it was planned, most likely: Ray may not have had the room there."""
        plans = unseen(self.memory.plans.get(one.name, ()), one, self.now)
        self.plans[one.name] = tuple(self._entered(one, plan) for plan in plans)

    def _entered(self, one: Standing, plan: Plan) -> Plan:
        rows = self._planned(one, plan) or self.rows(one, self.ledger.open)
        if rows is None:
            if self.now - plan.since >= TRUST_S:
                self.stranded.add(one.name)
            return plan
        self._occupy(one, rows)
        return Plan(self._nodes(rows), plan.since)

    def _planned(self, one: Standing, plan: Plan) -> Rows | None:
        """None if it cannot be there, or nobody knows."""
        if not plan.nodes or self.lost(plan):
            return None
        rows = tuple(self.ledger.row[node] for node in plan.nodes)
        # Ray is bound to the nodes of a placement group, and only prefers the node of a single replica.
        trusted = one.rule.stages > 1 or self.now - plan.since < TRUST_S
        return rows if trusted or fit_at(self.demand(one.name), self.ledger.open, rows) else None

    def lost(self, plan: Plan) -> bool:
        """Whether it names a node that is gone."""
        return any(node not in self.ledger.row for node in plan.nodes)

    def _nodes(self, rows: Rows) -> tuple[str, ...]:
        return tuple(self.ledger.nodes[row] for row in rows)

    def _occupy(self, one: Standing, rows: Rows) -> None:
        demand = self.demand(one.name)
        self.ledger.occupy(demand, rows)
        for row in rows:
            self.holders.setdefault(row, []).append(one.name)
        if one.floor:
            self.ledger.keep(demand, rows)

    @property
    def victims(self) -> Victims:
        """Of those that nothing has been decided for yet."""
        if self._victims is None:
            undecided = (one for name, one in self.standings.items() if one.live and name not in self.targets)
            outlook = Outlook(self.rules.turn_s, self.memory.yielding, self.now)
            self._victims = Victims(self.ledger, undecided, outlook)
        return self._victims

    # What is decided.

    def room_now(self, one: Standing) -> Rows | None:
        """Where it can start at once."""
        return self.rows(one, self.ledger.open)

    def start(self, one: Standing, rows: Rows) -> None:
        self._occupy(one, rows)
        self.targets[one.name] = one.target + 1
        self.places[one.name] = self._nodes(rows)
        self.plans[one.name] = (*self.plans.get(one.name, ()), Plan(self._nodes(rows), self.now))

    def reserve(self, one: Standing, rows: Rows) -> None:
        demand = self.demand(one.name)
        self.ledger.reserve(demand, rows)
        for row in rows:
            self.kept.setdefault(row, []).append(one.name)
        if one.floor:
            self.ledger.keep(demand, rows)

    def dismiss(self, one: Standing) -> None:
        """All of it is to leave: for its own sake, not for another's."""
        self.targets[one.name] = 0
        self.going.add(one.name)
        for node, count in counts(one.live).items():
            if (row := self.ledger.row.get(node)) is not None:
                self.ledger.vacate(min(count, one.target_stages) * self.demand(one.name).amounts[row], row)

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
        met = next((plan for plan in left if node in plan.nodes), None)
        if met is not None and len(left) > one.starting:
            left.remove(met)
    left = left[: one.starting]
    return (*left, *(Plan((), now) for _ in range(one.starting - len(left))))
