"""The slots that wait for a place, in the order in which they are served. Pure."""

from dataclasses import dataclass
from math import inf

from serve_app.policy.books import Books
from serve_app.policy.standing import Standing


@dataclass(frozen=True, slots=True)
class Waiter:
    """`since`: when it began to wait. `owed`: it must always be there. `ordered`: Serve has been told to start it, but
    its place has gone to another. `overdue`: it has waited for a turn, and busy slots must give way to it."""

    standing: Standing
    since: float
    owed: bool
    ordered: bool
    overdue: bool

    @property
    def name(self) -> str:
        return self.standing.name


def waiters_of(books: Books) -> list[Waiter]:
    found = [_waiter(books, one) for one in books.standings.values() if _waits(books, one)]
    order = {name: index for index, name in enumerate(books.rules.slots)} if len(found) > 1 else {}
    return sorted(found, key=lambda waiter: _rank(waiter, order))


def _waits(books: Books, one: Standing) -> bool:
    stranded = one.name in books.stranded and not one.live
    # A replica that is to go may still be in the list: until it is not, one more would be confused with it.
    short = not one.target or (one.target < one.floor and one.replicas <= one.target)
    return (stranded or short) and one.name not in books.targets and one.may_start(books.now)


def _waiter(books: Books, one: Standing) -> Waiter:
    """One that nobody has sent a request to makes no busy slot give way, unless it must always be there."""
    since = books.memory.waiting.get(one.name, books.now)
    if one.seen.queued_since is not None:
        since = min(since, one.seen.queued_since)
    owed = one.floor > 0
    overdue = (owed or one.busy) and books.now - since >= books.rules.turn_s
    return Waiter(one, since, owed, one.name in books.stranded, overdue)


def _rank(waiter: Waiter, order: dict[str, int]) -> tuple[float, float, float]:
    """What must always be there in the configuration's order; then the overdue, the oldest first; then by priority."""
    if waiter.owed:
        return (-inf, order.get(waiter.name, 0), waiter.since)
    if waiter.overdue:
        return (0, waiter.since, order.get(waiter.name, 0))
    return (1, -waiter.standing.seen.priority, waiter.since)
