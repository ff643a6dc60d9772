"""What `hal0 status` shows."""

import os
from typing import Any

import pytest

from serve_app.launch.processes import Process
from serve_app.launch.record import UpRecord
from serve_app.launch.status import Status, lines

HERE = Process.of(os.getpid())
assert HERE is not None
RECORD = UpRecord("abc", HERE, 1000.0, 8080, "http://127.0.0.1:8080", "/etc/hal0.yaml")


def slot(**changes: Any) -> dict[str, Any]:
    record = {
        "name": "chat",
        "state": "ready",
        "progress": None,
        "pinned": False,
        "nodes": ["c05ca85e1234"],
        "device": "cpu",
        "memory": {"estimated": None, "measured_bytes": 32 * 2**20},
        "last_error": None,
    }
    return record | changes


def rows(*slots: dict[str, Any]) -> list[str]:
    head, *table = lines(Status(RECORD, slots), 1075.0)
    assert head == f"hal0 runs on http://127.0.0.1:8080 (pid {os.getpid()}), since 1 min 15 s, with /etc/hal0.yaml"
    return table


def test_every_slot_has_a_row_and_columns_are_aligned() -> None:
    table = rows(slot(), slot(name="a-long-name", state="offline", nodes=[], memory={"measured_bytes": None}))
    assert table == [
        "  slot         state    node      device  memory  last error",
        "  chat         ready    c05ca85e  cpu     32 MiB  -",
        "  a-long-name  offline  -         cpu     -       -",
    ]


def test_what_matters_of_a_slot_is_shown() -> None:
    estimated = {"node_bytes": 2**30, "device_bytes": 2**20}
    [_, row] = rows(
        slot(
            state="pulling",
            progress={"fraction": 0.255},
            pinned=True,
            memory={"estimated": estimated, "measured_bytes": None},
            last_error={"message": "x\n" * 100},
        )
    )
    assert "pulling 26%, pinned" in row and "about 1,025 MiB" in row
    assert row.endswith("x x x...") and len(row) < 140


@pytest.mark.parametrize(
    ("age_s", "told"), [(5, "5 s"), (65, "1 min 5 s"), (7300, "2 h 1 min"), (180000, "2 d 2 h"), (-1, "0 s")]
)
def test_how_long_it_runs(age_s: float, told: str) -> None:
    [head, _] = lines(Status(RECORD, ()), RECORD.since + age_s)
    assert f"since {told}," in head


def test_one_that_does_not_answer_is_said_to() -> None:
    status = Status(RECORD, None, "Connection refused")
    [_, second] = lines(status, 1000.0)
    assert "does not answer" in second and "Connection refused" in second
    assert (status.shown()["answers"], status.shown()["slots"]) == (False, None)


def test_for_programs() -> None:
    shown = Status(RECORD, [slot()]).shown()
    assert (shown["pid"], shown["url"], shown["answers"], shown["slots"]) == (os.getpid(), RECORD.url, True, [slot()])
