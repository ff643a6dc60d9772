"""What is known of all slots and nodes at one moment, and what each slot is owed: the policy's input. Pure data.

Times are Unix seconds. Resources go by Ray's names, in Ray's units: `CPU`, `GPU`, `memory` (bytes), `vulkan`, `rocm`,
`npu`, `vram_gib`, ...
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Amounts = Mapping[str, float]


class Phase(StrEnum):
    """Where one replica stands in its life, as far as the policy minds."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"  # its load failed, or its engine died too often; it will not try again
    LEAVING = "leaving"  # told to stop, and still holding what it has


@dataclass(frozen=True, slots=True)
class ReplicaSeen:
    """`further`: the nodes of its stages after the first, where it has several: an entry for each."""

    node: str
    phase: Phase
    further: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """`total` is what the node declares; `available_gib` its available memory, where one of its replicas told."""

    total: Amounts
    available_gib: float | None = None


@dataclass(frozen=True, slots=True)
class SlotRule:
    """What the configuration owes a slot. `claim` is what each stage of each replica claims from Ray; the stages of
    one replica start together, on one node or on several."""

    claim: Amounts
    stages: int = 1
    min_replicas: int = 0
    max_replicas: int = 1
    parallel_requests: int = 1
    idle_after_s: float = 10.0
    unload_after_s: float | None = 300.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """What the board knows of a slot."""

    replicas: tuple[ReplicaSeen, ...] = ()
    in_flight: int = 0
    queued: int = 0
    queued_since: float | None = None
    """When the request that has waited longest came; None: none waits."""
    priority: int = 0
    """The highest among the requests that wait; the slot's own where none says otherwise."""
    last_used: float | None = None
    """When its last request ended."""
    loaded_at: float | None = None
    load_s: float | None = None
    """How long the last load took, from the replica's start."""
    pinned: bool = False
    wanted: bool = False
    """Somebody asked for it to be loaded, without a request."""
    unwanted: bool = False
    """Somebody asked for it to be unloaded; ends when it is."""
    next_try: float | None = None
    """It failed, and may not be tried before."""
    needs: Amounts = field(default_factory=dict)
    """Memory that a stage of a replica takes, estimated or measured, beyond what it claims: `memory` (bytes),
    `vram_gib`. Counts only on nodes that declare the resource."""
    homes: frozenset[str] = frozenset()
    """The nodes that are known to have its model's files."""


@dataclass(frozen=True, slots=True)
class Group:
    """`exclusive`: never two of its slots at once; else none of its slots gives way to another of them."""

    slots: frozenset[str]
    exclusive: bool


@dataclass(frozen=True, slots=True)
class Rules:
    slots: Mapping[str, SlotRule]
    groups: tuple[Group, ...] = ()
    turn_s: float = 30.0
    memory_floor_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """`targets` are the replica counts that Serve now aims at. A slot that is not in `slots` has nothing to tell:
    no replica, no request, no wish."""

    slots: Mapping[str, SlotSeen]
    nodes: Mapping[str, NodeSeen]
    targets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a wanted slot has no place yet. `blockers` are the slots in its way. `hopeless`: nothing that may end by
    itself would make room (pinned slots hold it, or no node has it)."""

    reason: str
    blockers: tuple[str, ...] = ()
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`targets`: replicas by slot; Serve keeps its aim for a slot that is left out. `yielding`: slots whose turn is
    over: requests that come now wait for the next one. `places`: of the slots that get one more replica, the node of
    each of its stages."""

    targets: Mapping[str, int]
    waits: Mapping[str, Wait]
    yielding: frozenset[str]
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
