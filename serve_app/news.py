"""What replicas and ingresses tell the board. Times are Unix seconds."""

from dataclasses import dataclass
from typing import Any

from serve_app.errors import ServingError
from serve_app.lifecycle import SlotState

JsonRecord = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReplicaNews:
    """What a replica tells of its engine. `number` grows with each: the older of two is ignored."""

    slot: str
    replica: str
    number: int
    state: SlotState
    node: str = ""
    device: str = ""
    progress: JsonRecord | None = None
    load_seconds: float | None = None
    error: JsonRecord | None = None
    gave_up: bool = False
    """With an error: this replica does not try again. Otherwise the next request has it start its engine anew."""
    sleeping: bool = False
    """Its engine has given up its device's memory, and takes a moment for the next request."""
    estimated: JsonRecord | None = None
    """What the engine should take: `weights_bytes` and `cache_bytes`; the same as `node_bytes` and `device_bytes`."""
    measured_bytes: int | None = None
    """Resident memory of the engine's processes when it had loaded."""
    available_bytes: int | None = None
    """Of the replica's node."""
    further: tuple[str, ...] = ()
    """The nodes of the engine's stages after the first, if it has several: an entry for each."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One ingress's requests for one slot. `answered` counts since that ingress started."""

    in_flight: int
    queued: int
    answered: int
    last_used: float | None
    queued_since: float | None = None
    """When the request that has waited longest came."""
    priority: int | None = None
    """The highest of the waiting requests'."""


def error_record(error: ServingError, last_lines: tuple[str, ...] = (), next_try: float | None = None) -> JsonRecord:
    """An error as a slot's record shows it; `detail` is the cause without the name of the slot."""
    return {
        "code": error.code,
        "message": str(error),
        "detail": getattr(error, "detail", str(error)),
        "last_lines": list(last_lines),
        "next_try": next_try,
    }
