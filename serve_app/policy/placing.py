"""A place for one waiting slot: free room, room that becomes free, or room for which others must go. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serve_app.policy.books import Books
from serve_app.policy.ledger import Rows
from serve_app.policy.victims import Clearing, Sought
from serve_app.policy.waiters import Waiter

CLEARED_FOR = 24
"""For so many waiting slots others make room at once. Those further back take free room only until they come up: to
look for what could go takes a tenth of a millisecond and more for each, ten times a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rows`: the nodes that are meant for it; empty: none yet. `blockers`: whom it waits for, where that is settled.
    `rivals`: members of its exclusive groups that are there, or come first. `ahead`: so many others are to be found a
    place first; None: it is its turn."""

    started: bool = False
    rows: Rows = ()
    blockers: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    ahead: int | None = None


class Groups:
    """Who may not be beside whom, and who does not give way to whom."""

    def __init__(self, books: Books) -> None:
        self._exclusive: dict[str, list[int]] = {}
        self._mates: dict[str, frozenset[str]] = {}
        self._present: dict[int, list[str]] = {}
        for index, group in enumerate(books.rules.groups):
            for slot in group.slots:
                if group.exclusive:
                    self._exclusive.setdefault(slot, []).append(index)
                else:
                    self._mates[slot] = self._mates.get(slot, frozenset()) | group.slots
        for name in self._exclusive:
            if name in books.standings and books.standings[name].present:
                self.enter(name)

    def enter(self, slot: str) -> None:
        """It is there, or will be: other members of its exclusive groups can no longer come."""
        for index in self._exclusive.get(slot, ()):
            self._present.setdefault(index, []).append(slot)

    def rivals(self, slot: str) -> tuple[str, ...]:
        present = (self._present.get(index, ()) for index in self._exclusive.get(slot, ()))
        return tuple(dict.fromkeys(name for names in present for name in names if name != slot))

    def mates(self, slot: str) -> frozenset[str]:
        return self._mates.get(slot, frozenset())


class Placing:
    """Places waiting slots one after the other; those that come first keep what they got."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._groups = Groups(books)

    def place(self, waiter: Waiter, ahead: int) -> Outcome:
        """`ahead`: how many others come first."""
        books, one = self._books, waiter.standing
        rivals = self._groups.rivals(one.name)
        staying = [name for name in rivals if name not in books.going]
        if any(not books.standings[name].live for name in staying):
            return Outcome(rivals=rivals)
        if not rivals and not one.leaving and not waiter.ordered:
            rows = books.room_now(one)
            if rows is not None:
                books.start(one, rows)
                self._groups.enter(one.name)
                return Outcome(started=True, rows=rows)
        if ahead >= CLEARED_FOR:
            return Outcome(ahead=ahead)
        if not staying:
            rows = books.rows(one, books.ledger.later)
            if rows is not None:
                self._reserve(waiter, rows)
                return Outcome(rows=rows, blockers=self._leaving(rows, one.name), rivals=rivals)
        clearing = self._clearing(waiter, staying)
        if clearing is None:
            return Outcome(rivals=rivals)
        self._clear(waiter, clearing)
        return Outcome(rows=clearing.rows, blockers=clearing.slots, rivals=rivals)

    def _clearing(self, waiter: Waiter, rivals: Iterable[str]) -> Clearing | None:
        books, one = self._books, waiter.standing
        spared = self._groups.mates(waiter.name)
        if spared.intersection(rivals):
            return None
        sought = Sought(books.demand(one.name), one.rule.stages, books.pulls(one))
        found = books.victims.cheapest(sought, rivals, spared, idle_only=True)
        if found is None and waiter.overdue:
            found = books.victims.cheapest(sought, rivals, spared, idle_only=False)
        return found

    def _clear(self, waiter: Waiter, clearing: Clearing) -> None:
        """Nobody goes before all can: a slot whose turn has not ended serves until then, and so do the others."""
        books = self._books
        prospects = {name: books.victims.of(name)[0].prospect for name in clearing.slots}
        for name, prospect in prospects.items():
            books.claim(name)
            if all(other.ready for other in prospects.values()):
                books.evict(name)
            elif all(other.turn_over for other in prospects.values()) and not prospect.idle:
                books.yielding.add(name)
        self._reserve(waiter, clearing.rows)

    def _reserve(self, waiter: Waiter, rows: Rows) -> None:
        self._books.reserve(waiter.standing, rows)
        self._groups.enter(waiter.name)

    def _leaving(self, rows: Rows, but: str) -> tuple[str, ...]:
        books = self._books
        there = dict.fromkeys(name for row in rows for name in books.holders.get(row, ()))
        return tuple(name for name in there if name != but and name in books.going)


def place_all(books: Books, waiters: Iterable[Waiter]) -> Mapping[str, Outcome]:
    placing = Placing(books)
    return {waiter.name: placing.place(waiter, ahead) for ahead, waiter in enumerate(waiters)}
