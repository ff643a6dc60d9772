"""The board: the one writer of every slot's state, fed by replicas (their engines' moves), ingresses (traffic), people
(load, unload, pin) and the policy (who waits for what)."""

import logging
from collections.abc import Collection, Iterable, Mapping

from providers.registry import provider
from providers.spec import SlotSpec
from serve_app.errors import SlotUnplaceable
from serve_app.events import Batch, EventLog
from serve_app.fleet import SlotSeen, Wait
from serve_app.lifecycle import LOADING, RESIDENT, SlotState, moves_between
from serve_app.news import JsonRecord, ReplicaNews, Traffic, error_record
from serve_app.placement import GIB, Claim
from serve_app.slot_entry import Pull, SlotEntry, derived_state, record_of, seen, view_of

logger = logging.getLogger("hal0.board")

STABLE_S = 30.0
"""A slot that has been loaded for so long has succeeded: an earlier failure is forgotten."""
UNLOAD_PATIENCE_S = 3.0
"""How long the wish to unload a slot of which no replica is known stands: one may be on its way."""


class Board:
    """Pure but for its log: every method takes the time, in Unix seconds."""

    def __init__(
        self,
        slots: Mapping[str, tuple[SlotSpec, str, Claim]],
        now: float,
        pins: Mapping[str, bool] | None = None,
    ) -> None:
        """`pins`: what people have pinned and unpinned since, where it differs from the configuration."""
        self._entries = {name: SlotEntry(spec, device, claim, now) for name, (spec, device, claim) in slots.items()}
        self.events = EventLog(f"{now:.3f}")
        self._available: dict[str, int] = {}
        for name, entry in self._entries.items():
            entry.pinned = (pins or {}).get(name, entry.spec.pin)
            entry.wanted = entry.spec.preload

    # What replicas and ingresses tell.

    def replica_news(self, news: ReplicaNews, now: float) -> None:
        entry = self._entries[news.slot]
        known = entry.news.get(news.replica)
        if known is not None and known.number > news.number:
            return
        entry.news[news.replica] = news
        entry.last_node = news.node or entry.last_node
        if news.available_bytes is not None:
            self._available[news.node] = news.available_bytes
        if news.state is SlotState.OFFLINE:
            _forget_replica(entry, news.replica)
        if news.state is SlotState.ERROR and (
            known is None or (known.state, known.gave_up) != (news.state, news.gave_up)
        ):
            self._failed(entry, news, now)
        entry.pull = None
        entry.homes |= _homes_by(news)
        if news.state in LOADING:
            entry.failed = False
        if news.state is SlotState.READY and news.load_seconds is not None:
            entry.load_seconds, entry.last_error, entry.failed = news.load_seconds, None, False
            # Of a slot that is being unloaded the next life is wanted.
            entry.wanted = entry.wanted and entry.unwanted_since is not None
        entry.estimated = news.estimated or entry.estimated
        entry.measured_bytes = news.measured_bytes or entry.measured_bytes
        before = known.progress if known is not None else None
        dozed = known is not None and known.sleeping
        if self._settle(entry, now):
            return
        if news.sleeping != dozed:
            self._tell(entry, "sleeping" if news.sleeping else "awake", now)
        elif news.progress is not None and news.progress != before:
            self._tell(entry, "progress", now)

    def files_found(self, node: str, slots: Collection[str]) -> None:
        """A look at `node` has found the files of these slots, and of no others."""
        for name, entry in self._entries.items():
            if name in slots:
                entry.homes.add(node)
            else:
                entry.homes.discard(node)

    def nodes_live(self, nodes: Collection[str]) -> None:
        """The files of all others are gone with them."""
        for entry in self._entries.values():
            entry.homes.intersection_update(nodes)

    def pull_began(self, slot: str, now: float) -> None:
        """Its model is being pulled before it has a place; until that is done, the policy does not hear of it."""
        entry = self._entries[slot]
        entry.pull, entry.failed = Pull(), False
        self._settle(entry, now)

    def pull_progress(self, slot: str, progress: JsonRecord, now: float) -> None:
        entry = self._entries[slot]
        if entry.pull is not None and progress != entry.pull.progress:
            entry.pull.progress = progress
            self._tell(entry, "progress", now)

    def pull_ended(self, slot: str, error: JsonRecord | None, now: float) -> None:
        """`error`: why the model cannot be had; None: it is here."""
        entry = self._entries[slot]
        if entry.pull is None:
            return
        if error is None:
            entry.pull.done = True
            return
        entry.pull = None
        self._load_failed(entry, error, now)
        self._settle(entry, now)

    def _failed(self, entry: SlotEntry, news: ReplicaNews, now: float) -> None:
        if news.gave_up and entry.unwanted_since is None:
            self._load_failed(entry, news.error or {}, now)
        else:
            entry.last_error = (news.error or {}) | {"next_try": None}

    def _load_failed(self, entry: SlotEntry, error: JsonRecord, now: float) -> None:
        entry.cooldown.failed(now)
        entry.failed, entry.wanted = True, False
        entry.last_error = error | {"next_try": entry.cooldown.next_try}

    def traffic_report(self, ingress: str, report: Mapping[str, Traffic], now: float) -> None:
        for name, traffic in report.items():
            entry = self._entries[name]
            before = entry.traffic.get(ingress)
            entry.traffic[ingress] = traffic
            entry.last_used = max(filter(None, (entry.last_used, traffic.last_used)), default=None)
            if before is not None and traffic.answered > before.answered and not traffic.in_flight:
                self._pass_through_serving(entry, now)
            self._settle(entry, now)

    def reporters(self) -> frozenset[str]:
        """Ids of all replicas and ingresses that the board has heard of."""
        entries = self._entries.values()
        return frozenset(name for entry in entries for told in (entry.news, entry.traffic) for name in told)

    def reporter_gone(self, reporter: str, now: float) -> None:
        """A replica or an ingress is gone, and what it told no longer holds."""
        for entry in self._entries.values():
            if reporter in entry.news or reporter in entry.traffic:
                _forget_replica(entry, reporter)
                entry.traffic.pop(reporter, None)
                self._settle(entry, now)

    def placement_checked(self, slot: str, advice: str | None, now: float) -> None:
        """Whether some node could hold the slot: None if so, else what to do about it."""
        entry = self._entries[slot]
        unplaceable = None if advice is None else error_record(SlotUnplaceable(slot, advice))
        if unplaceable != entry.unplaceable:
            entry.unplaceable = unplaceable
            if not self._settle(entry, now):
                self._tell(entry, "error", now)

    def decided(self, waits: Mapping[str, Wait], yielding: Iterable[str], now: float) -> None:
        """What the policy says of slots that wait, and of slots whose turn is over."""
        yields = frozenset(yielding)
        for name, entry in self._entries.items():
            wait = waits.get(name)
            waiting = None if wait is None else waiting_record(wait)
            before = (_substance(entry.waiting), entry.yielding)
            entry.waiting, entry.yielding = waiting, name in yields
            if (_substance(waiting), entry.yielding) != before:
                self._tell(entry, "waiting", now)

    # What people ask for.

    def load(self, slot: str, now: float) -> JsonRecord:
        """Have it loaded without a request, at once even after failures."""
        entry = self._entries[slot]
        if entry.state is not SlotState.UNLOADING:
            entry.unwanted_since = None
        if entry.state not in RESIDENT:
            entry.wanted = True
        self._end_cooldown(entry, now)
        self._settle(entry, now)
        return record_of(entry)

    def want(self, slot: str) -> None:
        """Somebody waited for it for as long as they may, and will ask again."""
        entry = self._entries[slot]
        if entry.state not in RESIDENT and not entry.failed:
            entry.wanted = True

    def unload(self, slot: str, now: float) -> JsonRecord:
        """Have it unloaded. A slot that is not there forgets its last failure."""
        entry = self._entries[slot]
        entry.wanted = entry.failed = False
        entry.pull = None
        if entry.news or entry.queued:
            entry.unwanted_since = now
        self._end_cooldown(entry, now)
        self._settle(entry, now)
        return record_of(entry)

    def _end_cooldown(self, entry: SlotEntry, now: float) -> None:
        entry.cooldown.succeeded()
        if entry.last_error is not None and entry.last_error["next_try"] is not None:
            entry.last_error = entry.last_error | {"next_try": None}
            self._tell(entry, "error", now)

    def pin(self, slot: str, pinned: bool, now: float) -> JsonRecord:
        entry = self._entries[slot]
        if entry.pinned != pinned:
            entry.pinned = pinned
            self._tell(entry, "pinned" if pinned else "unpinned", now)
        return record_of(entry)

    def pins(self) -> dict[str, bool]:
        """Where people have pinned or unpinned against the configuration."""
        return {name: one.pinned for name, one in self._entries.items() if one.pinned != one.spec.pin}

    # What others read.

    def tick(self, now: float) -> None:
        """Moves that only time makes."""
        for entry in self._entries.values():
            asked = entry.unwanted_since
            if asked is not None and not entry.news and now - asked >= UNLOAD_PATIENCE_S:
                entry.unwanted_since = None
            if entry.state in RESIDENT and not entry.wanted and now - (entry.loaded_at or now) >= STABLE_S:
                entry.cooldown.succeeded()
            if entry.pull is not None and entry.pull.done and not entry.asked_for:
                entry.pull = None
            if entry.news or entry.state is not SlotState.OFFLINE:
                self._settle(entry, now)

    def records(self, now: float) -> list[JsonRecord]:
        self.tick(now)
        return [record_of(entry) for entry in self._entries.values()]

    def record(self, slot: str) -> JsonRecord | None:
        entry = self._entries.get(slot)
        return None if entry is None else record_of(entry)

    def batch(self, cursor: str | None) -> Batch:
        """Events since `cursor`, or how everything stands now."""
        present = ({"type": "state", "at": one.since, **view_of(one)} for one in self._entries.values())
        return self.events.batch(cursor, present)

    def sightings(self) -> dict[str, SlotSeen]:
        """For the policy: the slots of which there is something to tell."""
        found = ((name, seen(entry)) for name, entry in self._entries.items())
        return {name: one for name, one in found if one is not None}

    def available_gib(self) -> dict[str, float]:
        """Available memory of the nodes on which replicas live."""
        living = {news.node for entry in self._entries.values() for news in entry.news.values()}
        return {node: size / GIB for node, size in self._available.items() if node in living}

    def to_revive(self) -> list[str]:
        """Replicas whose engine died although their slot must always be there."""
        return [
            replica
            for entry in self._entries.values()
            if entry.pinned or entry.spec.min_replicas
            for replica, news in entry.news.items()
            if news.state is SlotState.ERROR and not news.gave_up
        ]

    def to_put_to_sleep(self) -> list[str]:
        """Replicas whose slot is idle, and whose engine could give its device's memory up meanwhile."""
        return [
            replica
            for entry in self._entries.values()
            if entry.state is SlotState.IDLE and provider(entry.spec.provider).may_sleep(entry.spec)
            for replica, news in entry.news.items()
            if news.state is SlotState.READY and not news.sleeping
        ]

    def to_load(self, now: float) -> list[SlotSpec]:
        """Slots that are asked for and of which nothing is there yet."""
        return [
            entry.spec
            for entry in self._entries.values()
            if entry.asked_for
            and not (entry.news or entry.pull or entry.unplaceable or entry.unwanted_since is not None)
            and not entry.cooldown.remaining(now)
        ]

    def replicas(self, slot: str) -> list[str]:
        return list(self._entries[slot].news)

    def loading(self, slot: str) -> bool:
        return self._entries[slot].state in LOADING

    @property
    def somebody_waits(self) -> bool:
        return any(one.queued or one.wanted or one.waiting or one.yielding for one in self._entries.values())

    # Moves.

    def _pass_through_serving(self, entry: SlotEntry, now: float) -> None:
        """Requests came and went between two reports: that the slot served them is a move, too."""
        if entry.state in RESIDENT and entry.state is not SlotState.SERVING:
            self._move(entry, SlotState.SERVING, now)

    def _settle(self, entry: SlotEntry, now: float) -> bool:
        """Whether the slot has moved."""
        return self._move(entry, derived_state(entry, now), now)

    def _move(self, entry: SlotEntry, after: SlotState, now: float) -> bool:
        states = moves_between(entry.state, after)
        for state in states:
            if state is SlotState.READY and entry.state not in RESIDENT:
                entry.loaded_at = now
            logger.info("slot %s: %s -> %s", entry.spec.name, entry.state, state)
            entry.state, entry.since = state, now
            self._tell(entry, "state", now)
        return bool(states)

    def _tell(self, entry: SlotEntry, kind: str, now: float) -> None:
        self.events.add({"type": kind, "at": now, **view_of(entry)})


def _homes_by(news: ReplicaNews) -> set[str]:
    """The nodes that must have the files: they come before the engine starts."""
    if news.state is SlotState.READY:
        return {news.node, *news.further}
    return {news.node} if news.state in (SlotState.STARTING, SlotState.WARMING) else set()


def _forget_replica(entry: SlotEntry, replica: str) -> None:
    """The wish to unload a slot is granted when its last replica is gone."""
    if entry.news.pop(replica, None) is not None and not entry.news:
        entry.unwanted_since = None


def waiting_record(wait: Wait) -> JsonRecord:
    return {"reason": wait.reason, "blockers": list(wait.blockers), "hopeless": wait.hopeless}


def _substance(waiting: JsonRecord | None) -> object:
    """What is worth an event: the reason in words counts seconds."""
    return None if waiting is None else (waiting["blockers"], waiting["hopeless"])
