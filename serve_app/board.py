"""The board: the one writer of every slot's state, fed by replicas (their engines' moves) and ingresses (traffic)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.spec import SlotSpec
from serve_app.errors import ServingError, SlotUnplaceable
from serve_app.lifecycle import LOADING, RESIDENT, IllegalMove, SlotState, moves_between

logger = logging.getLogger("hal0.board")

JsonRecord = dict[str, Any]

MOST_ADVANCED = (
    SlotState.READY,
    SlotState.WARMING,
    SlotState.STARTING,
    SlotState.PULLING,
    SlotState.UNLOADING,
    SlotState.ERROR,
)


@dataclass(frozen=True, slots=True)
class ReplicaNews:
    """What a replica tells of its engine. `number` grows with each: the older of two is ignored."""

    slot: str
    replica: str
    number: int
    state: SlotState
    node: str = ""
    device: str = ""
    progress: float | None = None
    load_seconds: float | None = None
    error: JsonRecord | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """One ingress's requests for one slot. `answered` counts since that ingress started."""

    in_flight: int
    queued: int
    answered: int
    last_used: float | None
    """Unix seconds."""


@dataclass(slots=True)
class SlotEntry:
    """All that is known of one slot."""

    spec: SlotSpec
    device: str
    state: SlotState
    since: float
    unplaceable: JsonRecord | None = None
    """The error of a slot that fits on no node."""
    news: dict[str, ReplicaNews] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    loaded_at: float = 0.0
    last_used: float | None = None
    last_error: JsonRecord | None = None
    load_seconds: float | None = None

    @property
    def in_flight(self) -> int:
        return sum(traffic.in_flight for traffic in self.traffic.values())

    @property
    def queued(self) -> int:
        return sum(traffic.queued for traffic in self.traffic.values())


class Board:
    """Pure but for its log: every method takes the time, in Unix seconds."""

    def __init__(self, slots: Mapping[str, tuple[SlotSpec, str]], now: float) -> None:
        self._entries = {
            name: SlotEntry(spec, device, SlotState.OFFLINE, now) for name, (spec, device) in slots.items()
        }

    def replica_news(self, news: ReplicaNews, now: float) -> None:
        entry = self._entries[news.slot]
        known = entry.news.get(news.replica)
        if known is not None and known.number > news.number:
            return
        entry.news[news.replica] = news
        if news.state is SlotState.OFFLINE:
            del entry.news[news.replica]
        if news.state is SlotState.ERROR:
            entry.last_error = news.error
        if news.load_seconds is not None:
            entry.load_seconds, entry.last_error = news.load_seconds, None
        self._settle(entry, now)

    def reporters(self) -> frozenset[str]:
        """Ids of all replicas and ingresses that the board has heard of."""
        entries = self._entries.values()
        return frozenset(name for entry in entries for told in (entry.news, entry.traffic) for name in told)

    def reporter_gone(self, reporter: str, now: float) -> None:
        """A replica or an ingress is gone, and what it told no longer holds."""
        for entry in self._entries.values():
            if reporter in entry.news or reporter in entry.traffic:
                entry.news.pop(reporter, None)
                entry.traffic.pop(reporter, None)
                self._settle(entry, now)

    def traffic_report(self, ingress: str, report: Mapping[str, Traffic], now: float) -> None:
        for name, traffic in report.items():
            entry = self._entries[name]
            before = entry.traffic.get(ingress)
            entry.traffic[ingress] = traffic
            entry.last_used = max(filter(None, (entry.last_used, traffic.last_used)), default=None)
            if before is not None and traffic.answered > before.answered and not traffic.in_flight:
                self._pass_through_serving(entry, now)
            self._settle(entry, now)

    def placement_checked(self, slot: str, advice: str | None, now: float) -> None:
        """Whether some node could hold the slot: None if so, else what to do about it."""
        entry = self._entries[slot]
        entry.unplaceable = None if advice is None else error_record(SlotUnplaceable(slot, advice))
        self._settle(entry, now)

    def tick(self, now: float) -> None:
        """Moves that only time makes."""
        for entry in self._entries.values():
            if entry.state in RESIDENT:
                self._settle(entry, now)

    def _pass_through_serving(self, entry: SlotEntry, now: float) -> None:
        """Requests came and went between two reports: that the slot served them is a move, too."""
        if entry.state in RESIDENT and entry.state is not SlotState.SERVING:
            self._move(entry, SlotState.SERVING, now)

    def _settle(self, entry: SlotEntry, now: float) -> None:
        self._move(entry, derived_state(entry, now), now)

    def _move(self, entry: SlotEntry, after: SlotState, now: float) -> None:
        try:
            for state in moves_between(entry.spec.name, entry.state, after):
                if state is SlotState.READY and entry.state not in RESIDENT:
                    entry.loaded_at = now
                logger.info("slot %s: %s -> %s", entry.spec.name, entry.state, state)
                entry.state, entry.since = state, now
        except IllegalMove as error:
            logger.error("bug: %s", error)
            entry.state, entry.since = after, now

    def records(self, now: float) -> list[JsonRecord]:
        self.tick(now)
        return [record_of(entry) for entry in self._entries.values()]


def derived_state(entry: SlotEntry, now: float) -> SlotState:
    """The slot's state from its replicas' and its traffic: that of the replica that has come furthest."""
    states = {news.state for news in entry.news.values()}
    alone = SlotState.ERROR if entry.unplaceable else SlotState.OFFLINE
    best = next((state for state in MOST_ADVANCED if state in states), alone)
    if best is not SlotState.READY:
        return best
    if entry.in_flight:
        return SlotState.SERVING
    if entry.state not in RESIDENT:
        return SlotState.READY
    quiet_since = max(entry.loaded_at, entry.last_used or 0.0)
    return SlotState.IDLE if now - quiet_since >= entry.spec.idle_after_s else SlotState.READY


def error_record(error: ServingError, last_lines: tuple[str, ...] = (), next_try: float | None = None) -> JsonRecord:
    """An error as a slot's record shows it. `next_try` is in Unix seconds."""
    return {"code": error.code, "message": str(error), "last_lines": list(last_lines), "next_try": next_try}


def record_of(entry: SlotEntry) -> JsonRecord:
    """A slot as `GET /api/slots` shows it. Times are Unix seconds."""
    spec = entry.spec
    news = tuple(entry.news.values())
    progress = next((n.progress for n in news if n.state in LOADING and n.progress is not None), None)
    return {
        "name": spec.name,
        "state": entry.state.value,
        "since": entry.since,
        "provider": spec.provider,
        "model": spec.model,
        "aliases": list(spec.aliases),
        "description": spec.description,
        "capabilities": [capability.value for capability in spec.capabilities],
        "context_size": spec.context_size,
        "parallel_requests": spec.parallel_requests,
        "device": entry.device,
        "resources": spec.resources.model_dump(mode="json"),
        "pinned": spec.pin,
        "min_replicas": spec.min_replicas,
        "max_replicas": spec.max_replicas,
        "idle_after_s": spec.idle_after_s,
        "unload_after_s": spec.unload_after_s,
        "replicas": len(news),
        "nodes": sorted({n.node for n in news if n.node}),
        "in_flight": entry.in_flight,
        "queued": entry.queued,
        "progress": None if progress is None else {"fraction": progress},
        "load_seconds": entry.load_seconds,
        "last_used": entry.last_used,
        "last_error": entry.unplaceable or entry.last_error,
    }
