"""The table of moves, and the way between any two states."""

import itertools

import pytest

from serve_app.lifecycle import LEGAL_MOVES, UNSEEN, SlotState, moves_between

S = SlotState


def test_every_state_has_a_row() -> None:
    assert set(LEGAL_MOVES) == set(SlotState)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SlotState, SlotState)))
def test_moves_are_steps_of_the_table_and_invent_nothing(before: SlotState, after: SlotState) -> None:
    way = moves_between(before, after)
    path = (before, *way)
    assert path[-1] == after
    for one, other in itertools.pairwise(path):
        assert other in LEGAL_MOVES[one]
    assert set(way[:-1]) <= set(UNSEEN)
    assert len(set(way)) == len(way)


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        (S.READY, S.READY, ()),
        (S.SERVING, S.STARTING, (S.OFFLINE, S.STARTING)),
        (S.WARMING, S.SERVING, (S.READY, S.SERVING)),
        (S.SERVING, S.IDLE, (S.READY, S.IDLE)),
        (S.OFFLINE, S.SERVING, (S.STARTING, S.READY, S.SERVING)),
        (S.IDLE, S.WARMING, (S.OFFLINE, S.STARTING, S.WARMING)),
        (S.ERROR, S.READY, (S.STARTING, S.READY)),
    ],
)
def test_what_was_not_seen_is_passed_through(before: SlotState, after: SlotState, way: tuple[SlotState, ...]) -> None:
    assert moves_between(before, after) == way


def test_every_state_can_end_offline_except_offline_itself() -> None:
    assert all(SlotState.OFFLINE in LEGAL_MOVES[state] for state in SlotState if state is not SlotState.OFFLINE)
