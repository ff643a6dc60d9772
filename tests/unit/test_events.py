"""The numbered events of the board: who comes back with a cursor misses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.events import EventLog

BOARD = "1000.000"


def log_of(events: int, kept: int = 5) -> EventLog:
    log = EventLog(BOARD, kept)
    for number in range(1, events + 1):
        log.add({"what": number})
    return log


def test_events_carry_growing_ids() -> None:
    log = log_of(3)
    assert [event["id"] for event in log.after(f"{BOARD}-0") or ()] == [f"{BOARD}-{n}" for n in (1, 2, 3)]
    assert log.cursor == f"{BOARD}-3"


@given(events=st.integers(0, 12), kept=st.integers(1, 6), seen=st.integers(0, 14))
def test_a_cursor_brings_exactly_what_came_after_it_or_a_reset(events: int, kept: int, seen: int) -> None:
    batch = log_of(events, kept).batch(f"{BOARD}-{seen}", [{"name": "chat"}])
    if events - kept <= seen <= events:
        assert not batch.reset
        assert [event["what"] for event in batch.events] == list(range(seen + 1, events + 1))
    else:
        assert batch.reset
        assert [event["name"] for event in batch.events] == ["chat"]
    assert batch.cursor == f"{BOARD}-{events}"


@pytest.mark.parametrize(
    "cursor", [None, "", "-", "1", "999.000-1", f"{BOARD}-", f"{BOARD}--1", f"{BOARD}-²", f"{BOARD}-1x", "no number"]
)
def test_a_cursor_that_is_not_this_boards_resets(cursor: str | None) -> None:
    batch = log_of(2).batch(cursor, [{"name": "chat"}])
    assert batch.reset and batch.events == ({"id": f"{BOARD}-2", "name": "chat"},)


def test_a_reset_without_slots_says_nothing() -> None:
    assert log_of(2).batch(None, []).events == ()


def test_who_has_heard_only_some_of_a_reset_begins_again() -> None:
    log = log_of(2)
    present = [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    *some, last = log.batch(None, present).events
    assert all(log.batch(event["id"], present).reset for event in some)
    assert not log.batch(last["id"], present).reset


@given(reads=st.lists(st.integers(0, 3), max_size=30))
def test_a_watcher_that_polls_in_time_sees_every_event_once(reads: list[int]) -> None:
    log = EventLog(BOARD, kept=3)
    cursor, seen, written = log.cursor, [], 0
    for new in reads:
        for _ in range(new):
            written += 1
            log.add({"what": written})
        batch = log.batch(cursor, [])
        assert not batch.reset
        cursor = batch.cursor
        seen += [event["what"] for event in batch.events]
    assert seen == list(range(1, written + 1))
