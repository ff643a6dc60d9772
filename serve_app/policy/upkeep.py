"""What slots do for their own sake, whoever waits: unload, grow, shrink, end a failed load, and spare a node. Pure."""

from collections.abc import Mapping

from serve_app.fleet import Fleet
from serve_app.policy.books import Books
from serve_app.policy.memory import Fewer
from serve_app.policy.standing import Standing

STUCK_S = 10.0
"""A start of which nothing has been seen for so long is not under way: it may be called off."""
READING_AGE_S = 2.0
"""How old a reading of a node's memory may be."""


def fewer_of(books: Books) -> dict[str, Fewer]:
    """The slots with more replicas than they need now, and since when."""
    found = {}
    for name, one in books.standings.items():
        if one.target > 1 and one.live and one.target > one.load:
            before = books.memory.fewer.get(name)
            # One that has been obeyed says nothing of going further down.
            if before is None or before.count >= one.target:
                before = Fewer(books.now, one.load)
            found[name] = Fewer(before.since, max(before.count, one.load))
    return found


def tend(books: Books, fewer: Mapping[str, Fewer]) -> None:
    for name, one in books.standings.items():
        if not one.target:
            continue
        if one.live and (one.failed or one.seen.unwanted or one.due_to_unload(books.now)):
            books.dismiss(one)
        elif one.starting and _off_the_map(books, one):
            books.targets[name] = one.replicas
        elif not one.live and not one.busy and not one.asked_for and _stuck(books, one):
            books.targets[name] = 0
        elif one.live and one.starting and name in books.stranded and _stuck(books, one):
            books.targets[name] = one.replicas
        elif name in fewer and not one.loading and not one.starting:
            shrunk = fewer[name]
            if books.now - shrunk.since >= one.rule.idle_after_s and shrunk.count < one.target:
                books.targets[name] = shrunk.count


def _stuck(books: Books, one: Standing) -> bool:
    return all(books.now - plan.since >= STUCK_S for plan in books.plans.get(one.name, ()))


def _off_the_map(books: Books, one: Standing) -> bool:
    """Its stages are to start on nodes of which one is gone: Ray would wait for that for ever."""
    return one.rule.stages > 1 and any(map(books.lost, books.memory.plans.get(one.name, ())))


def grow(books: Books) -> None:
    """Further replicas, one at a time, where nobody waits for the room. Nobody gives way to them."""
    for name, one in books.standings.items():
        if not 0 < one.target < one.rule.max_replicas or one.load <= one.target:
            continue
        if one.replicas > one.target or not one.may_start(books.now):
            continue
        if name in books.targets or name in books.claimed or name in books.stranded:
            continue
        if (rows := books.room_now(one)) is not None:
            books.start(one, rows)


def relieve(books: Books, fleet: Fleet) -> None:
    """On a node that is short of memory the idle slot that is cheapest to lose goes; the next one only when the node
    has had time to show what that has brought."""
    for name, node in fleet.nodes.items():
        if node.available_gib is None or node.available_gib >= books.rules.memory_floor_gib:
            continue
        row = books.ledger.row[name]
        recently = books.now - books.memory.relieved.get(name, -READING_AGE_S) < READING_AGE_S
        if recently or any(holder in books.going for holder in books.holders.get(row, ())):
            continue
        quiet = [victim for victim in books.victims.pool(idle_only=True).on(row) if _long_quiet(books, victim.slot)]
        if quiet:
            loss = min(quiet, key=lambda victim: victim.prospect.cost)
            books.claim(loss.slot)
            books.evict(loss.slot)


def _long_quiet(books: Books, slot: str) -> bool:
    one = books.standings[slot]
    return one.quiet_s(books.now) >= one.rule.idle_after_s


def relieved_at(books: Books) -> dict[str, float]:
    """When something last left each node, as far as that matters still."""
    if not books.rules.memory_floor_gib:
        return {}
    leaving = {node: books.now for one in books.standings.values() for node in one.leaving}
    recent = {node: at for node, at in books.memory.relieved.items() if books.now - at < READING_AGE_S}
    return recent | leaving
