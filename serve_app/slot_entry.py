"""All that is known of one slot, and the state, the record and the sighting that follow from it."""

from dataclasses import dataclass, field

from providers.spec import SlotSpec
from serve_app.cooldown import Cooldown
from serve_app.fleet import Phase, ReplicaSeen, SlotSeen
from serve_app.lifecycle import LOADING, RESIDENT, SlotState
from serve_app.news import JsonRecord, ReplicaNews, Traffic
from serve_app.placement import GIB, Claim

MOST_ADVANCED = (
    SlotState.READY,
    SlotState.WARMING,
    SlotState.STARTING,
    SlotState.PULLING,
    SlotState.UNLOADING,
    SlotState.ERROR,
)


@dataclass(slots=True)
class Pull:
    """Of a slot's model, before the slot has a place. Stands until a replica is heard of, or nobody asks any more."""

    progress: JsonRecord | None = None
    done: bool = False


@dataclass(slots=True)
class SlotEntry:
    """Times are Unix seconds."""

    spec: SlotSpec
    device: str
    claim: Claim
    since: float
    state: SlotState = SlotState.OFFLINE
    pinned: bool = False
    wanted: bool = False
    """Somebody asked for it to be loaded, without a request."""
    unwanted_since: float | None = None
    """Somebody asked for it to be unloaded; None once it is."""
    failed: bool = False
    """Its last load failed; shown until the next one begins."""
    unplaceable: JsonRecord | None = None
    """The error of a slot that fits on no node."""
    waiting: JsonRecord | None = None
    """Why it has no place yet."""
    yielding: bool = False
    """Its turn is over: what comes now waits for the next one."""
    pull: Pull | None = None
    news: dict[str, ReplicaNews] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    cooldown: Cooldown = field(default_factory=Cooldown)
    loaded_at: float | None = None
    last_used: float | None = None
    last_error: JsonRecord | None = None
    load_seconds: float | None = None
    estimated: JsonRecord | None = None
    measured_bytes: int | None = None
    last_node: str | None = None
    """Where its newest replica is, or was."""
    homes: set[str] = field(default_factory=set)
    """The nodes that are known to have its model's files."""

    @property
    def in_flight(self) -> int:
        return sum(traffic.in_flight for traffic in self.traffic.values())

    @property
    def queued(self) -> int:
        return sum(traffic.queued for traffic in self.traffic.values())

    @property
    def queued_since(self) -> float | None:
        return min((t.queued_since for t in self.traffic.values() if t.queued_since is not None), default=None)

    @property
    def priority(self) -> int:
        return max((t.priority for t in self.traffic.values() if t.priority is not None), default=self.spec.priority)

    @property
    def asked_for(self) -> bool:
        """Whether there is a reason to load it."""
        return bool(self.queued or self.wanted or self.pinned or self.spec.min_replicas)

    @property
    def progress(self) -> JsonRecord | None:
        if self.pull is not None and not self.news:
            return self.pull.progress
        loads = (n.progress for n in self.news.values() if n.state in LOADING and n.progress is not None)
        return next(loads, None) if self.state in LOADING else None

    @property
    def sleeping(self) -> bool:
        """Every engine that it has sleeps."""
        ready = [news for news in self.news.values() if news.state is SlotState.READY]
        return bool(ready) and all(news.sleeping for news in ready)

    @property
    def quiet_since(self) -> float:
        return max(self.loaded_at or 0.0, self.last_used or 0.0)


def derived_state(entry: SlotEntry, now: float) -> SlotState:
    """The slot's state from its replicas' and its traffic: that of the replica that has come furthest."""
    states = {SlotState.ERROR if news.gave_up else news.state for news in entry.news.values()}
    alone = SlotState.ERROR if entry.unplaceable or entry.failed else SlotState.OFFLINE
    if entry.pull is not None and not (entry.pull.done and entry.waiting):
        alone = SlotState.PULLING
    best = next((state for state in MOST_ADVANCED if state in states), alone)
    if entry.unwanted_since is not None and (best is SlotState.READY or best in LOADING):
        return SlotState.UNLOADING
    if best is not SlotState.READY:
        return best
    if entry.in_flight:
        return SlotState.SERVING
    if entry.state not in RESIDENT:
        return SlotState.READY
    return SlotState.IDLE if now - entry.quiet_since >= entry.spec.idle_after_s else SlotState.READY


def view_of(entry: SlotEntry) -> JsonRecord:
    """What events tell of a slot."""
    return {
        "name": entry.spec.name,
        "state": entry.state.value,
        "since": entry.since,
        "progress": entry.progress,
        "sleeping": entry.sleeping,
        "pinned": entry.pinned,
        "waiting": entry.waiting,
        "yielding": entry.yielding,
        "last_error": entry.unplaceable or entry.last_error or _error_of_a_replica(entry),
    }


def _error_of_a_replica(entry: SlotEntry) -> JsonRecord | None:
    """Another replica may have been ready since, which ends the slot's last error, and be gone again."""
    if entry.state is not SlotState.ERROR:
        return None
    lost = next((news for news in entry.news.values() if news.state is SlotState.ERROR), None)
    if lost is None:
        return None
    return (lost.error or {}) | {"next_try": entry.cooldown.next_try if lost.gave_up else None}


def record_of(entry: SlotEntry) -> JsonRecord:
    """A slot as `GET /api/slots` shows it."""
    spec = entry.spec
    news = tuple(entry.news.values())
    return view_of(entry) | {
        "provider": spec.provider,
        "model": spec.model,
        "models": {capability.value: name for capability, name in spec.models.items()},
        "aliases": list(spec.aliases),
        "role_aliases": {alias: role.value for alias, role in spec.role_aliases.items()},
        "adapters": list(spec.adapters),
        "description": spec.description,
        "capabilities": [capability.value for capability in spec.capabilities],
        "context_size": spec.context_size,
        "parallel_requests": spec.parallel_requests,
        "device": entry.device,
        "resources": entry.claim.as_resources(),
        "memory": {"estimated": entry.estimated, "measured_bytes": entry.measured_bytes},
        "min_replicas": spec.min_replicas,
        "max_replicas": spec.max_replicas,
        "idle_after_s": spec.idle_after_s,
        "unload_after_s": spec.unload_after_s,
        "priority": spec.priority,
        "replicas": len(news),
        "nodes": sorted({node for n in news for node in (n.node, *n.further) if node}),
        "last_node": entry.last_node,
        "in_flight": entry.in_flight,
        "queued": entry.queued,
        "load_seconds": entry.load_seconds,
        "last_used": entry.last_used,
    }


def seen(entry: SlotEntry) -> SlotSeen | None:
    """What the policy needs to know; None if there is nothing to tell."""
    if not (entry.news or entry.in_flight or entry.asked_for) and entry.unwanted_since is None:
        return None
    if entry.pull is not None and not entry.pull.done:
        return None
    return SlotSeen(
        replicas=tuple(ReplicaSeen(news.node, _phase(news), news.further) for news in entry.news.values()),
        in_flight=entry.in_flight,
        queued=entry.queued,
        queued_since=entry.queued_since,
        priority=entry.priority,
        last_used=entry.last_used,
        loaded_at=entry.loaded_at,
        load_s=entry.load_seconds,
        pinned=entry.pinned,
        wanted=entry.wanted,
        unwanted=entry.unwanted_since is not None,
        next_try=entry.cooldown.next_try,
        needs=_needs(entry),
        # Of one that cannot grow nobody asks; and the policy is told many times a second.
        homes=frozenset(entry.homes if len(entry.news) < entry.spec.max_replicas else ()),
    )


def _phase(news: ReplicaNews) -> Phase:
    if news.gave_up:
        return Phase.FAILED
    if news.state is SlotState.UNLOADING:
        return Phase.LEAVING
    # One whose engine died is there still, and starts it anew for the next request.
    return Phase.LOADING if news.state in LOADING else Phase.READY


def _needs(entry: SlotEntry) -> dict[str, float]:
    estimated = entry.estimated
    if estimated is None:
        return {} if entry.measured_bytes is None else {"memory": float(entry.measured_bytes)}
    return {"memory": float(estimated["node_bytes"]), "vram_gib": estimated["device_bytes"] / GIB}
