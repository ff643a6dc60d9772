"""Why a slot has no place yet, in words and figures. Pure."""

from collections.abc import Iterable, Sequence

import numpy as np

from serve_app.fleet import Wait
from serve_app.policy.books import Books
from serve_app.policy.eviction import TOLERANCE
from serve_app.policy.ledger import Room, fitting, stages_fitting
from serve_app.policy.placing import Outcome
from serve_app.policy.waiters import Waiter

SHOWN_BLOCKERS = 4
SHOWN_NODE_ID = 8


def wait_of(books: Books, waiter: Waiter, outcome: Outcome) -> Wait:
    if outcome.ahead is not None:
        return Wait(f"{outcome.ahead} other slots wait for a place, too, and come first")
    one, ledger = waiter.standing, books.ledger
    if books.rows(one, ledger.total) is None:
        return Wait(_too_large(books, waiter), hopeless=True)
    if outcome.rivals:
        return _beside_rivals(books, waiter, outcome)
    if not outcome.rows and books.rows(one, ledger.bare) is None:
        return _held_for_good(books, waiter)
    if outcome.rows and all(name in books.going for name in outcome.blockers):
        return _until_they_left(books, waiter, outcome)
    row = outcome.rows[0] if outcome.rows else _likeliest(books, waiter, ledger.bare)
    blockers = outcome.blockers or _in_the_way(books, waiter, row)
    return Wait(f"{_shortage(books, waiter, row)}; {_waits_for(books, waiter, blockers)}", tuple(blockers))


def _too_large(books: Books, waiter: Waiter) -> str:
    ledger = books.ledger
    if not ledger.nodes:
        return "no node is there"
    needed, stages = books.demand(waiter.name).amounts, waiter.standing.rule.stages
    if stages > 1:
        room = int(stages_fitting(books.demand(waiter.name), ledger.total, stages).sum())
        return f"needs {_claimed(waiter)} for each of {stages} stages, and all nodes together have that {room} times"
    lacking = np.nonzero((needed > ledger.total + TOLERANCE).all(axis=0))[0].tolist()
    if not lacking:
        return f"needs {_claimed(waiter)} on one node, and no node has all of that"
    column = lacking[0]
    needs, largest = float(needed[:, column].max()), float(ledger.total[:, column].max())
    name = ledger.columns[column]
    if not largest:
        return f"needs {name}: {_figure(needs)}, which no node has"
    return f"needs {name}: {_figure(needs)}, the largest node has {_figure(largest)}"


def _claimed(waiter: Waiter) -> str:
    return ", ".join(f"{name}: {_figure(amount)}" for name, amount in waiter.standing.rule.claim.items())


def _beside_rivals(books: Books, waiter: Waiter, outcome: Outcome) -> Wait:
    standings = books.standings
    fixed = [name for name in outcome.rivals if standings[name].floor]
    if fixed:
        return Wait(f"may not be loaded beside {_listed(fixed)}, which must always be there", tuple(fixed), True)
    blockers = tuple(dict.fromkeys((*outcome.rivals, *outcome.blockers)))
    return Wait(f"may not be loaded beside {_listed(outcome.rivals)}; {_waits_for(books, waiter, blockers)}", blockers)


def _held_for_good(books: Books, waiter: Waiter) -> Wait:
    row = _likeliest(books, waiter, books.ledger.total)
    there = dict.fromkeys((*books.holders.get(row, ()), *books.kept.get(row, ())))
    fixed = tuple(name for name in there if name != waiter.name and books.standings[name].floor)
    pinned = all(books.standings[name].seen.pinned for name in fixed)
    pinned_slots = "pinned slot" if len(fixed) == 1 else "pinned slots"
    whose = f"{pinned_slots} {_listed(fixed)}" if pinned else f"{_listed(fixed)}, which must always be there"
    return Wait(f"{_shortage(books, waiter, row)}; its place is held by {whose}", fixed, hopeless=True)


def _until_they_left(books: Books, waiter: Waiter, outcome: Outcome) -> Wait:
    if outcome.blockers:
        return Wait(f"waits for {_listed(outcome.blockers)} to unload", outcome.blockers)
    if waiter.standing.leaving:
        return Wait("its last replica is still leaving")
    nodes = ", ".join(_node(books, row) for row in dict.fromkeys(outcome.rows))
    return Wait(f"waits for room on node {nodes or '?'}")


def _in_the_way(books: Books, waiter: Waiter, row: int) -> tuple[str, ...]:
    """The slots that hold or have reserved what it lacks on that node."""
    ledger = books.ledger
    needed = books.demand(waiter.name).amounts[row]
    lacking = (needed > ledger.later[row] + TOLERANCE) & (needed > 0)
    there = dict.fromkeys((*books.holders.get(row, ()), *books.kept.get(row, ())))
    return tuple(name for name in there if name != waiter.name and (books.demand(name).amounts[row][lacking] > 0).any())


def _likeliest(books: Books, waiter: Waiter, room: Room) -> int:
    """Of the nodes that could hold a stage of it in `room` and cannot now, the one that lacks the smallest part of what
    that needs."""
    ledger, demand = books.ledger, books.demand(waiter.name)
    able, needed = fitting(demand, room), demand.amounts
    lacking = able & ~fitting(demand, ledger.later)
    nodes = lacking if lacking.any() else able
    parts = np.where(needed > 0, (needed - ledger.later) / np.where(needed > 0, needed, 1.0), -np.inf)
    worst = np.where(nodes, parts.max(axis=1, initial=-np.inf), np.inf)
    return int(worst.argmin())


def _shortage(books: Books, waiter: Waiter, row: int) -> str:
    ledger = books.ledger
    needed = books.demand(waiter.name).amounts[row]
    free = np.minimum(ledger.now[row], np.maximum(ledger.later[row], 0.0))
    short = np.nonzero((needed > 0) & (needed > free + TOLERANCE))[0].tolist()
    column = short[0] if short else int(needed.argmax())
    name = ledger.columns[column]
    figures = (needed[column], max(0.0, free[column]), ledger.total[row, column])
    needs, has, total = (_figure(float(figure)) for figure in figures)
    return f"needs {name}: {needs} and node {_node(books, row)} has {has} of {total} free"


def _waits_for(books: Books, waiter: Waiter, blockers: Sequence[str]) -> str:
    shown = [f"'{name}' ({_stand(books, waiter, name)})" for name in blockers[:SHOWN_BLOCKERS]]
    more = len(blockers) - len(shown)
    return f"waits for {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"


def _stand(books: Books, waiter: Waiter, blocker: str) -> str:
    one, now = books.standings[blocker], books.now
    if blocker in books.going:
        return "unloading"
    if one.floor:
        return "pinned" if one.seen.pinned else "must always be there"
    if one.loading or one.starting or books.targets.get(blocker):
        return "loading"
    if not one.live:
        return "comes first"
    if not one.busy:
        return f"idle for {one.quiet_s(now):.0f} s"
    count, stand = (one.seen.in_flight, "in flight") if one.seen.in_flight else (one.seen.queued, "waiting")
    requests = f"{count} request{'' if count == 1 else 's'} {stand}"
    left_s = max(one.turn_ends(books.rules.turn_s, now), waiter.since + books.rules.turn_s) - now
    return f"{requests}, its turn {f'ends in {left_s:.0f} s' if left_s > 0 else 'is over'}"


def _figure(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**20 else f"{amount:g}"


def _node(books: Books, row: int) -> str:
    return books.ledger.nodes[row][:SHOWN_NODE_ID]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
