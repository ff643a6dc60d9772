"""How far a load has come, as records, events and waiting clients show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """`fraction` is 0..1. A field that nobody knows is None; none is ever guessed."""

    fraction: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None

    def shown(self) -> dict[str, Any]:
        """The known fields."""
        fields = {
            "fraction": self.fraction,
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
            "bytes_per_second": self.bytes_per_second,
            "eta_seconds": self.eta_seconds,
        }
        return {name: value for name, value in fields.items() if value is not None}


def of_bytes(done: int, total: int | None, rate: float | None, eta_s: float | None) -> Progress:
    fraction = done / total if total else None
    return Progress(fraction, done, total, rate, eta_s)


def loading_object(model: str, view: Mapping[str, Any]) -> dict[str, Any]:
    """What a client is told of a load that it has waited for long enough; `view` is an event of the slot."""
    progress = view.get("progress") or {}
    told: dict[str, Any] = {"model": model, "state": view.get("state", "offline"), "progress": progress.get("fraction")}
    told |= {key: progress[key] for key in ("bytes_done", "bytes_total", "eta_seconds") if key in progress}
    if waiting := view.get("waiting"):
        told["waiting"] = waiting["reason"]
    return told


def told_in_words(name: str, view: Mapping[str, Any]) -> str:
    """One line for a person who waits."""
    if waiting := view.get("waiting"):
        return f"{name} waits: {waiting['reason']}."
    state = str(view.get("state", "offline"))
    progress = view.get("progress") or {}
    if "fraction" not in progress:
        return f"{name} is {'starting' if state == 'offline' else state} ..."
    line = f"{name} is {state}: {progress['fraction']:.0%}"
    if "bytes_total" in progress:
        line += f" of {progress['bytes_total'] / 2**20:,.1f} MiB"
    if "eta_seconds" in progress:
        line += f", about {progress['eta_seconds']:.0f} s to go"
    return line
