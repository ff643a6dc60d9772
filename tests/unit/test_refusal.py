"""When a request need not wait for its slot, and what it is told."""

from typing import Any

import pytest

from serve_app.errors import EngineDied, LoadFailed, NoRoom, SlotUnplaceable
from serve_app.lifecycle import SlotState
from serve_app.news import error_record
from serve_app.refusal import refusal

FAILED = error_record(LoadFailed("chat", "engine_exited", "it fell"), ("one", "two"), next_try=110.0)
UNPLACEABLE = error_record(SlotUnplaceable("chat", "it needs npu: 1"))


def view(state: str = "error", **more: Any) -> dict[str, Any]:
    return {"name": "chat", "state": state, "waiting": None, "last_error": None, **more}


def test_a_failed_load_is_told_with_its_cause_as_long_as_it_is_not_tried_again() -> None:
    error = refusal(view(last_error=FAILED), now=104.0)
    assert isinstance(error, LoadFailed)
    assert (error.slot, error.code, error.detail) == ("chat", "engine_exited", "it fell")
    assert (error.last_lines, error.retry_after_s) == (("one", "two"), 6.0)
    assert str(error) == FAILED["message"]


@pytest.mark.parametrize(("now", "retry_after_s"), [(109.9, 1.0), (110.0, None), (500.0, None)])
def test_a_new_try_is_waited_for(now: float, retry_after_s: float | None) -> None:
    error = refusal(view(last_error=FAILED), now)
    assert (error and error.retry_after_s) == retry_after_s


@pytest.mark.parametrize("state", [state for state in SlotState if state is not SlotState.ERROR])
def test_an_earlier_failure_is_no_reason_once_the_slot_moves(state: SlotState) -> None:
    assert refusal(view(state.value, last_error=FAILED), now=104.0) is None


def test_an_engine_that_died_is_started_anew_by_the_next_request() -> None:
    assert refusal(view(last_error=error_record(EngineDied("chat", "it fell"))), now=104.0) is None


def test_what_fits_nowhere_is_refused_for_good() -> None:
    error = refusal(view(last_error=UNPLACEABLE), now=1e12)
    assert isinstance(error, SlotUnplaceable) and str(error) == UNPLACEABLE["message"]


def test_only_a_hopeless_wait_is_refused() -> None:
    waiting = {"reason": "needs 2 GiB; big is pinned", "blockers": ["big"], "hopeless": False}
    assert refusal(view("offline", waiting=waiting), 0.0) is None
    error = refusal(view("offline", waiting=waiting | {"hopeless": True}), 0.0)
    assert isinstance(error, NoRoom) and "needs 2 GiB; big is pinned" in str(error)


def test_a_slot_of_which_nothing_is_known_is_waited_for() -> None:
    assert refusal({"name": "chat", "state": "offline"}, 0.0) is None
