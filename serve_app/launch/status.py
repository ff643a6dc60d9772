"""`hal0 status`: what runs, and how its slots stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.config import ConfigError, load_config_file
from serve_app.launch.local_server import LocalServer, Record
from serve_app.launch.record import UpRecord
from serve_app.security import load_keys
from serve_app.settings import Settings

COLUMNS = ("slot", "state", "node", "device", "memory", "last error")
ERROR_WIDTH = 60
NODE_WIDTH = 8
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Status:
    """`slots` is None where the server does not answer; `silence` says why."""

    record: UpRecord
    slots: Sequence[Record] | None
    silence: str = ""

    def shown(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "pid": self.record.launcher.pid,
            "since": self.record.since,
            "url": self.record.url,
            "config": self.record.config,
            "session": self.record.session,
            "answers": self.slots is not None,
            "slots": None if self.slots is None else list(self.slots),
        }


def ask(record: UpRecord, settings: Settings) -> Status:
    try:
        return Status(record, LocalServer(record.url, _key(record, settings)).slots())
    except OSError as error:
        return Status(record, None, str(error))


def lines(status: Status, now: float) -> Iterator[str]:
    """`now` is in Unix seconds."""
    record = status.record
    since = _ago(now - record.since)
    yield f"hal0 runs on {record.url} (pid {record.launcher.pid}), since {since}, with {record.config}"
    if status.slots is None:
        yield f"It does not answer (yet): {status.silence}"
        return
    rows = [COLUMNS, *map(_row, status.slots)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _key(record: UpRecord, settings: Settings) -> str | None:
    """One that the server takes, if the environment or the configuration of now still has it."""
    try:
        return load_keys(load_config_file(Path(record.config)).serving, settings).one()
    except ConfigError:
        return settings.api_keys[0] if settings.api_keys else None


def _row(slot: Record) -> tuple[str, ...]:
    nodes = ",".join(node[:NODE_WIDTH] for node in slot["nodes"])
    error = " ".join(str((slot.get("last_error") or {}).get("message", "")).split())
    return (slot["name"], _state(slot), nodes or "-", slot["device"], _memory(slot["memory"]), _cut(error) or "-")


def _state(slot: Record) -> str:
    fraction = (slot.get("progress") or {}).get("fraction")
    state = slot["state"] if fraction is None else f"{slot['state']} {fraction:.0%}"
    return f"{state}, pinned" if slot.get("pinned") else str(state)


def _memory(memory: Mapping[str, Any]) -> str:
    """As it was measured, else as it is estimated."""
    if (measured := memory.get("measured_bytes")) is not None:
        return f"{measured / MIB:,.0f} MiB"
    if (estimated := memory.get("estimated")) is not None:
        return f"about {(estimated['node_bytes'] + estimated['device_bytes']) / MIB:,.0f} MiB"
    return "-"


def _cut(text: str) -> str:
    return text if len(text) <= ERROR_WIDTH else f"{text[: ERROR_WIDTH - 3]}..."


def _ago(seconds: float) -> str:
    """In the two largest units that matter."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
