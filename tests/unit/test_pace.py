"""How often the controller looks: quickly while a slot comes or goes, and only then."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from serve_app.fleet import Fleet, Phase, ReplicaSeen, SlotSeen
from serve_app.pace import QUICK_FOR_S, QUICK_S, Pace, set_pause, usual_pause_s

SLOW_S = 0.1
LATER = QUICK_FOR_S + 1.0
LOADING, READY, LEAVING = (
    SlotSeen((ReplicaSeen("n1", phase),)) for phase in (Phase.LOADING, Phase.READY, Phase.LEAVING)
)
NOTHING = SlotSeen()


def fleet(slot: SlotSeen, target: int = 1) -> Fleet:
    return Fleet({"chat": slot}, {}, {"chat": target})


def settled(slot: SlotSeen, target: int = 1) -> Pace:
    """As it stands when nothing has changed for long."""
    pace = Pace(SLOW_S)
    pace.pause_s(fleet(slot, target), 0.0)
    assert pace.pause_s(fleet(slot, target), LATER) == SLOW_S
    return pace


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (fleet(NOTHING, 0), fleet(replace(NOTHING, queued=1), 0)),
        (fleet(NOTHING, 0), fleet(replace(NOTHING, wanted=True), 0)),
        (fleet(NOTHING, 0), fleet(NOTHING, 1)),
        (fleet(NOTHING, 1), fleet(LOADING, 1)),
        (fleet(READY, 1), fleet(READY, 0)),
        (fleet(READY, 1), fleet(replace(READY, unwanted=True), 1)),
        (fleet(READY, 0), fleet(LEAVING, 0)),
        (fleet(LEAVING, 0), fleet(NOTHING, 0)),
    ],
    ids=["asked for", "wanted", "a replica is due", "loading", "to leave", "unwanted", "leaving", "gone"],
)
def test_a_slot_that_comes_or_goes_is_looked_after_quickly_for_a_while(before: Fleet, after: Fleet) -> None:
    pace = settled(before.slots["chat"], before.targets["chat"])
    now = 2 * LATER
    assert pace.pause_s(after, now) == QUICK_S
    assert pace.pause_s(after, now + QUICK_FOR_S / 2) == QUICK_S
    assert pace.pause_s(after, now + QUICK_FOR_S) == SLOW_S, "a long load needs no looks"


@pytest.mark.parametrize(
    "busy",
    [
        replace(READY, in_flight=3),
        replace(READY, in_flight=8, queued=5, queued_since=1.0),
        replace(READY, last_used=4.0),
    ],
)
def test_requests_that_an_engine_answers_change_nothing(busy: SlotSeen) -> None:
    pace = settled(READY)
    assert pace.pause_s(fleet(busy), 2 * LATER) == SLOW_S


def test_whoever_wants_more_looks_all_the_time_has_them() -> None:
    pace = Pace(QUICK_S / 2)
    assert {pace.pause_s(fleet(LOADING), now) for now in (0.0, LATER)} == {QUICK_S / 2}


def test_the_pause_is_the_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own name for it, which the loop reads before each of its pauses."""
    controller: Any = import_module("ray.serve._private.controller")
    monkeypatch.setattr(controller, "CONTROL_LOOP_INTERVAL_S", usual_pause_s())
    loop = controller.ServeController.run_control_loop
    assert "CONTROL_LOOP_INTERVAL_S" in loop.__code__.co_names
    set_pause(0.42)
    assert loop.__globals__["CONTROL_LOOP_INTERVAL_S"] == 0.42
