"""The table of moves, and the way between any two states."""

import itertools

import pytest

from serve_app.lifecycle import LEGAL_MOVES, IllegalMove, SlotState, moves_between


def test_every_state_has_a_row() -> None:
    assert set(LEGAL_MOVES) == set(SlotState)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SlotState, SlotState)))
def test_moves_are_steps_of_the_table_or_refused(before: SlotState, after: SlotState) -> None:
    try:
        path = (before, *moves_between("chat", before, after))
    except IllegalMove as error:
        assert str(before) in str(error)
        return
    assert path[-1] == after
    for one, other in itertools.pairwise(path):
        assert other in LEGAL_MOVES[one]


def test_a_slot_that_is_offline_cannot_serve() -> None:
    with pytest.raises(IllegalMove):
        moves_between("chat", SlotState.OFFLINE, SlotState.SERVING)


def test_a_new_life_begins_at_offline() -> None:
    assert moves_between("chat", SlotState.SERVING, SlotState.STARTING) == (SlotState.OFFLINE, SlotState.STARTING)


def test_every_state_can_end_offline_except_offline_itself() -> None:
    assert all(SlotState.OFFLINE in LEGAL_MOVES[state] for state in SlotState if state is not SlotState.OFFLINE)
