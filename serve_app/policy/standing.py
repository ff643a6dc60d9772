"""One slot as it stands: what of it is there and where, what it is owed, and when it may go. Pure."""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import NamedTuple

from serve_app.fleet import Amounts, Fleet, Phase, Rules, SlotRule, SlotSeen

USUAL_LOAD_S = 5.0
GRACE_PART_OF_LOAD = 0.1
GRACE_LIMITS_S = (0.2, 3.0)
NOTHING_SEEN = SlotSeen()


class Standing(NamedTuple):
    """`live` are the nodes of its replicas, an entry for each stage of each, less those on their way out: these are in
    `leaving`. `replicas` is how many live. `target` is Serve's, `floor` the number of replicas that must always be
    there. A tuple, since hundreds of them are made ten times a second."""

    name: str
    rule: SlotRule
    seen: SlotSeen
    target: int
    floor: int
    replicas: int
    live: tuple[str, ...]
    leaving: tuple[str, ...]
    loading: bool
    failed: bool

    @property
    def amounts(self) -> Amounts:
        """What one stage of a replica takes. A claim stands for itself, whatever was measured."""
        return {**self.seen.needs, **self.rule.claim} if self.seen.needs else self.rule.claim

    @property
    def starting(self) -> int:
        """Replicas that Serve was told to start, and of which nothing is seen yet."""
        return max(0, self.target - self.replicas)

    @property
    def target_stages(self) -> int:
        return self.target * self.rule.stages

    @property
    def floor_stages(self) -> int:
        return self.floor * self.rule.stages

    @property
    def present(self) -> bool:
        return bool(self.live or self.leaving or self.target)

    @property
    def busy(self) -> bool:
        return self.seen.in_flight > 0 or self.seen.queued > 0

    @property
    def asked_for(self) -> bool:
        return not self.seen.unwanted and (self.busy or self.seen.wanted or self.floor > 0)

    def may_start(self, now: float) -> bool:
        return self.asked_for and (self.seen.next_try is None or self.seen.next_try <= now)

    @property
    def load(self) -> int:
        """Replicas that its requests need."""
        needed = ceil((self.seen.in_flight + self.seen.queued) / self.rule.parallel_requests)
        return min(max(needed, self.floor, 1), self.rule.max_replicas)

    def quiet_s(self, now: float) -> float:
        """Since it was last used, or loaded; 0 where neither is known."""
        if self.loading or self.busy:
            return 0.0
        used, loaded = self.seen.last_used, self.seen.loaded_at
        if used is None or (loaded is not None and loaded > used):
            used = loaded
        return 0.0 if used is None else max(0.0, now - used)

    @property
    def grace_s(self) -> float:
        """It stays for so long after a request even if others wait, or two chatty clients would swap every time."""
        least, most = GRACE_LIMITS_S
        part = (USUAL_LOAD_S if self.seen.load_s is None else self.seen.load_s) * GRACE_PART_OF_LOAD
        return min(max(least, min(part, most)), self.rule.idle_after_s)

    def loss(self, now: float) -> float:
        """What it costs to lose it: the time to load it again, the less the longer nobody has used it."""
        load_s = USUAL_LOAD_S if self.seen.load_s is None else self.seen.load_s
        return load_s / (1.0 + self.quiet_s(now))

    def turn_ends(self, turn_s: float, now: float) -> float:
        """When it gives way to others although it is busy; not soon, while those who waited for it wait still."""
        loaded_at = self.seen.loaded_at
        if self.loading:
            return now + turn_s + (self.seen.load_s or USUAL_LOAD_S)
        if loaded_at is None:
            return now
        if self.seen.queued_since is not None and self.seen.queued_since <= loaded_at:
            return max(now + turn_s, loaded_at + turn_s)
        return loaded_at + turn_s

    def due_to_unload(self, now: float) -> bool:
        after = self.rule.unload_after_s
        if after is None or self.loading or self.asked_for:
            return False
        known = self.seen.last_used is not None or self.seen.loaded_at is not None
        return known and self.quiet_s(now) >= after


def standings_of(rules: Rules, fleet: Fleet) -> Iterator[Standing]:
    """Of every slot with something to tell, or with a target."""
    for name, seen in fleet.slots.items():
        if name in rules.slots:
            yield _standing(name, rules.slots[name], seen, fleet.targets.get(name, 0))
    for name, target in fleet.targets.items():
        if target and name not in fleet.slots and name in rules.slots:
            yield _standing(name, rules.slots[name], NOTHING_SEEN, target)
    for name, rule in rules.slots.items():
        if rule.min_replicas and name not in fleet.slots and not fleet.targets.get(name, 0):
            yield _standing(name, rule, NOTHING_SEEN, 0)


def _standing(name: str, rule: SlotRule, seen: SlotSeen, target: int) -> Standing:
    """A slot that Serve aims to have none of is leaving whatever the board says: it hears of that later."""
    live: list[str] = []
    leaving: list[str] = []
    replicas, loading, failed = 0, False, True
    for one in seen.replicas:
        if target and one.phase is not Phase.LEAVING:
            replicas += 1
            live += (one.node, *one.further)
            loading |= one.phase is Phase.LOADING
            failed &= one.phase is Phase.FAILED
        else:
            leaving += (one.node, *one.further)
    floor = 0 if seen.unwanted else max(rule.min_replicas, int(seen.pinned))
    failed = failed and replicas > 0
    return Standing(name, rule, seen, target, floor, replicas, tuple(live), tuple(leaving), loading, failed)


def counts(nodes: tuple[str, ...]) -> Mapping[str, int]:
    return {nodes[0]: 1} if len(nodes) == 1 else {node: nodes.count(node) for node in nodes}
