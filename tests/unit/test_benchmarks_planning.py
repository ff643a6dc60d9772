"""The measurements behind docs/cluster-planning.md, run as shortly as they can be."""

from benchmarks.planning import of_the_board


def test_every_piece_of_the_boards_work_has_a_cost() -> None:
    figures = list(of_the_board(slots=8, nodes=1, least_s=0.0001))
    assert len({(one.what, one.unit) for one in figures}) == len(figures)
    assert all(one.amount > 0 for one in figures)
    assert {"us", "bytes"} == {one.unit for one in figures}
