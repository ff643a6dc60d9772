"""The books of room: how much of each resource each node has free, now and once those who leave have left. Pure.

Arrays have a row for each node and a column for each resource, so that one waiting slot is held against all nodes at
once: ten times a second, 200 nodes and dozens of waiting slots leave no time for loops.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.fleet import Amounts, NodeSeen
from serve_app.policy.eviction import TOLERANCE

Room = NDArray[np.float64]
"""Shape (nodes, resources), or (resources,) for one node."""
Nodes = NDArray[np.bool_]
"""Shape (nodes,)."""
Counts = NDArray[np.int64]
"""Shape (nodes,)."""
Rows = tuple[int, ...]
"""A node for each stage of a replica: one for nearly all, and one node may take several stages."""


class Demand:
    """What one stage of a replica takes: `claim` of shape (resources,), `amounts` with a row for each node. `needs`
    count only where the node declares the resource. `needed` is the same with minus infinity for nothing, so that it
    fits into any room, one that is overdrawn included: more may be used than was estimated."""

    def __init__(self, claim: Room, needs: Room | None, declared: Nodes) -> None:
        self.amounts = np.broadcast_to(claim, declared.shape) if needs is None else claim + needs * declared
        self.needed: Room = np.where(self.amounts > 0, self.amounts, -np.inf)


class Freeing(Protocol):
    """`frees` has a figure for each column."""

    @property
    def row(self) -> int: ...

    @property
    def frees(self) -> tuple[float, ...]: ...


class Usage:
    """What is taken on each node, summed up one replica at a time."""

    def __init__(self) -> None:
        self.by_node: dict[str, dict[str, float]] = {}

    def add(self, node: str, amounts: Amounts, times: int = 1) -> None:
        taken = self.by_node.get(node)
        if taken is None:
            taken = self.by_node[node] = {}
        for name, amount in amounts.items():
            taken[name] = taken.get(name, 0.0) + times * amount


class Ledger:
    """`now`: free at this moment. `later`: free once all that was told to leave has left, less what is reserved.
    `bare`: free if nothing were there but what must always be."""

    def __init__(
        self, nodes: Mapping[str, NodeSeen], columns: Iterable[str], used: Usage, leaving: Usage, owed: Usage
    ) -> None:
        self.nodes = tuple(nodes)
        self.columns = tuple(columns)
        self.row = {name: index for index, name in enumerate(self.nodes)}
        declared = self._table({name: node.total for name, node in nodes.items()}, missing=-1.0)
        self.declared: Nodes = declared >= 0
        self.total: Room = np.maximum(declared, 0.0)
        self.now: Room = self.total - self._table(used.by_node) * self.declared
        self.later: Room = self.now + self._table(leaving.by_node) * self.declared
        self.bare: Room = self.total - self._table(owed.by_node) * self.declared

    def _table(self, by_node: Mapping[str, Amounts], missing: float = 0.0) -> Room:
        nothing = [missing] * len(self.columns)
        rows = [
            [amounts.get(name, missing) for name in self.columns] if (amounts := by_node.get(node)) else nothing
            for node in self.nodes
        ]
        return np.array(rows, dtype=np.float64).reshape(len(self.nodes), len(self.columns))

    def demand(self, claim: Amounts, needs: Amounts) -> Demand:
        beyond = {name: amount for name, amount in needs.items() if amount > 0 and name not in claim}
        more = np.array(self.figures(beyond)) if beyond else None
        return Demand(np.array(self.figures(claim)), more, self.declared)

    def figures(self, amounts: Amounts) -> tuple[float, ...]:
        return tuple([amounts.get(name, 0.0) for name in self.columns])

    def occupy(self, demand: Demand, rows: Rows) -> None:
        """One replica is there, or is to start."""
        for row in rows:
            self.now[row] -= demand.amounts[row]
            self.later[row] -= demand.amounts[row]

    def reserve(self, demand: Demand, rows: Rows) -> None:
        for row in rows:
            self.later[row] -= demand.amounts[row]

    def vacate(self, amount: Sequence[float] | Room, row: int) -> None:
        """So much of what is occupied will be free."""
        self.later[row] += amount * self.declared[row]

    def keep(self, demand: Demand, rows: Rows) -> None:
        """It must always be there."""
        for row in rows:
            self.bare[row] -= demand.amounts[row]

    @property
    def open(self) -> Room:
        """What is free, and nobody has reserved."""
        return np.minimum(self.now, self.later)

    def after(self, leaving: Iterable[Freeing], demand: Demand, rows: Rows = ()) -> Room:
        """What is free later when these have left, too, and `demand` is on `rows`."""
        later = self.later
        for one in leaving:
            later = later.copy() if later is self.later else later
            later[one.row] += one.frees * self.declared[one.row]
        for row in rows:
            later = later.copy() if later is self.later else later
            later[row] -= demand.amounts[row]
        return later


def lacking(demand: Demand, room: Room) -> Room:
    """What is missing for one stage on each node."""
    return np.maximum(demand.needed - room, 0.0)


def fitting(demand: Demand, room: Room) -> Nodes:
    """Where one stage fits."""
    found: Nodes = np.all(demand.needed <= room + TOLERANCE, axis=1)
    return found


def fit_at(demand: Demand, room: Room, rows: Rows) -> bool:
    """Whether all stages fit, each on its node."""
    return all(
        bool(np.all(rows.count(row) * demand.needed[row] <= room[row] + TOLERANCE)) for row in dict.fromkeys(rows)
    )


def stages_fitting(demand: Demand, room: Room, most: int) -> Counts:
    """How many stages fit on each node, `most` at most."""
    taken = demand.amounts > 0
    times = np.where(taken, (room + TOLERANCE) / np.where(taken, demand.amounts, 1.0), np.inf)
    found: Counts = np.clip(np.floor(times.min(axis=1, initial=np.inf)), 0, most).astype(np.int64)
    return found


def choose(demand: Demand, room: Room, stages: int, liked: Nodes | None) -> Rows | None:
    """Nodes with room for all stages: those that are liked first, then as few as possible. None if there are none."""
    if stages == 1:
        found = fitting(demand, room)
        row = None if liked is None else first(found & liked)
        row = first(found) if row is None else row
        return None if row is None else (row,)
    counts = stages_fitting(demand, room, stages)
    if counts.sum() < stages:
        return None
    order = np.argsort(-counts, kind="stable") if liked is None else np.lexsort((-counts, ~liked))
    rows = [row for row in order.tolist() for _ in range(counts[row])]
    return tuple(rows[:stages])


def first(nodes: Nodes) -> int | None:
    return int(nodes.argmax()) if nodes.any() else None
