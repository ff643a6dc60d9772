"""The policy: which slots have how many replicas, who gives way to whom, and who waits for what. Pure.

`Scheduler` is what Serve's policy calls; it remembers what `decide` asks it to.
"""

from serve_app.fleet import Decision, Fleet, Rules
from serve_app.policy.books import Books
from serve_app.policy.memory import Memory
from serve_app.policy.placing import place_all
from serve_app.policy.upkeep import fewer_of, grow, relieve, relieved_at, tend
from serve_app.policy.waiters import waiters_of
from serve_app.policy.waits import wait_of


class Scheduler:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._memory = Memory()

    def decide(self, fleet: Fleet, now: float) -> Decision:
        decision, self._memory = decide(self._rules, fleet, now, self._memory)
        return decision


def decide(rules: Rules, fleet: Fleet, now: float, memory: Memory) -> tuple[Decision, Memory]:
    """A slot keeps its target where the decision does not name it. What is named always changes it: Serve starts a
    replica of any slot that is named, has none, and has a call waiting."""
    books = Books(rules, fleet, now, memory)
    fewer = fewer_of(books)
    tend(books, fewer)
    waiters = waiters_of(books)
    outcomes = place_all(books, waiters)
    grow(books)
    relieve(books, fleet)
    waiting = [waiter for waiter in waiters if not outcomes[waiter.name].started]
    yielding = _yielding(books)
    decision = Decision(
        targets=books.targets,
        waits={waiter.name: wait_of(books, waiter, outcomes[waiter.name]) for waiter in waiting},
        yielding=yielding,
        places=books.places,
    )
    return decision, Memory(
        plans=books.plans,
        waiting={waiter.name: waiter.since for waiter in waiters},
        fewer=fewer,
        yielding={name: memory.yielding.get(name, now) for name in yielding},
        relieved=relieved_at(books),
    )


def _yielding(books: Books) -> frozenset[str]:
    """Also those that have been told to leave, until they have: an ingress may not have heard of that."""
    leaving = (name for name in books.memory.yielding if name in books.going)
    return frozenset(books.yielding.union(leaving))
