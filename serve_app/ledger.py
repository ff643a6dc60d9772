"""The books of room: how much of each resource each node has free, now and once those who leave have left. Pure.

Arrays have a row for each node and a column for each resource, so that one waiting slot is held against all nodes at
once: ten times a second, 200 nodes and dozens of waiting slots leave no time for loops.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.eviction import TOLERANCE
from serve_app.fleet import Amounts, NodeSeen

Room = NDArray[np.float64]
"""Shape (nodes, resources), or (resources,) for one node."""
Nodes = NDArray[np.bool_]
"""Shape (nodes,)."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one replica takes, a figure for each column. `needs` counts only where the node declares the resource."""

    claim: Room
    needs: Room | None


class Ledger:
    """`now`: free at this moment. `later`: free once all that was told to leave has left, less what is reserved.
    `bare`: free if nothing were there but what must always be."""

    def __init__(self, nodes: Mapping[str, NodeSeen], columns: Iterable[str]) -> None:
        self.nodes = tuple(nodes)
        self.columns = tuple(columns)
        self.row = {name: index for index, name in enumerate(self.nodes)}
        self._column = {name: index for index, name in enumerate(self.columns)}
        declared = [[node.total.get(name, -1.0) for name in self.columns] for node in nodes.values()]
        figures = np.array(declared, dtype=np.float64).reshape(len(self.nodes), len(self.columns))
        self.declared: Nodes = figures >= 0
        self.total: Room = np.maximum(figures, 0.0)
        self.now: Room = self.total.copy()
        self.later: Room = self.total.copy()
        self.bare: Room = self.total.copy()

    def demand(self, claim: Amounts, needs: Amounts) -> Demand:
        beyond = {name: amount for name, amount in needs.items() if amount > 0 and name not in claim}
        return Demand(self._figures(claim), self._figures(beyond) if beyond else None)

    def _figures(self, amounts: Amounts) -> Room:
        figures = np.zeros(len(self.columns))
        for name, amount in amounts.items():
            figures[self._column[name]] = amount
        return figures

    def everywhere(self, demand: Demand) -> Room:
        """What the demand comes to on each node."""
        if demand.needs is None:
            return np.broadcast_to(demand.claim, self.total.shape)
        return demand.claim + demand.needs * self.declared

    def at(self, demand: Demand, row: int) -> Room:
        return demand.claim if demand.needs is None else demand.claim + demand.needs * self.declared[row]

    def occupy(self, demand: Demand, row: int) -> None:
        """One replica is there, or is to start."""
        amount = self.at(demand, row)
        self.now[row] -= amount
        self.later[row] -= amount

    def reserve(self, demand: Demand, row: int) -> None:
        self.later[row] -= self.at(demand, row)

    def vacate(self, amount: Room, row: int) -> None:
        """So much of what is occupied will be free."""
        self.later[row] += amount

    def keep(self, amount: Room, row: int) -> None:
        """So much is taken by what must always be there."""
        self.bare[row] -= amount

    def fits_now(self, demand: Demand) -> Nodes:
        """Where it fits into what is free, and nobody has reserved."""
        return _within(self.everywhere(demand), np.minimum(self.now, self.later))

    def fits_later(self, demand: Demand) -> Nodes:
        return _within(self.everywhere(demand), self.later)

    def could_land(self, demand: Demand) -> Nodes:
        """Where Ray may start it: Ray knows only of claims, and nothing of reservations."""
        return _within(np.broadcast_to(demand.claim, self.total.shape), self.now)

    def fits_empty(self, demand: Demand) -> Nodes:
        return _within(self.everywhere(demand), self.total)

    def fits_bare(self, demand: Demand) -> Nodes:
        return _within(self.everywhere(demand), self.bare)


def _within(amount: Room, room: Room) -> Nodes:
    """Room may be below zero, where more is used than was estimated; that is nothing to one who takes none of it."""
    return np.all((amount <= room + TOLERANCE) | (amount <= 0), axis=1)


def first(nodes: Nodes) -> int | None:
    return int(nodes.argmax()) if nodes.any() else None
