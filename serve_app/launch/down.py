"""`hal0 down`: stops what `hal0 up` has started, also what one that was killed has left."""

import signal
from collections.abc import Iterator, Sequence

from serve_app.launch.driver import STOP_GRACE_S
from serve_app.launch.leftovers import clear_one
from serve_app.launch.processes import gone_within, send
from serve_app.launch.record import RunFolder, UpRecord

PATIENCE_S = STOP_GRACE_S + 15.0
"""Its guard may use all of its grace, and then kills."""


class Ambiguous(Exception):
    """Several are running; the message lists them."""


def chosen(records: Sequence[UpRecord], port: int | None) -> list[UpRecord]:
    """Those to stop: the dead, and the one that runs. Raises `Ambiguous` if several do and no port is named."""
    if port is not None:
        return [record for record in records if record.port == port]
    running = [record for record in records if record.runs]
    if len(running) > 1:
        ports = ", ".join(f"{record.port} ({record.config})" for record in running)
        raise Ambiguous(f"several are running, on ports {ports}; allowed: --port with one of them")
    return list(records)


def down(folder: RunFolder, port: int | None) -> Iterator[str]:
    """Does it, and says what it does. Raises `Ambiguous`."""
    records = chosen(folder.records(), port)
    if not records:
        yield "hal0 is not running." if port is None else f"hal0 is not running on port {port}."
    for record in records:
        if record.runs:
            yield from _stop(folder, record)
        else:
            yield f"hal0 is not running; it has {clear_one(folder, record)}."


def _stop(folder: RunFolder, record: UpRecord) -> Iterator[str]:
    yield f"hal0 on {record.url} (pid {record.launcher.pid}) is asked to stop."
    send(record.launcher, signal.SIGTERM)
    if not gone_within([record.launcher], PATIENCE_S):
        yield f"It has not stopped within {PATIENCE_S:g} s, and is killed."
        send(record.launcher, signal.SIGKILL)
        gone_within([record.launcher], PATIENCE_S)
    if (left := folder.at(record.port)) is not None and left.mark == record.mark:
        clear_one(folder, left)
    yield "hal0 has stopped."
