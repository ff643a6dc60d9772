"""The cheapest set that suffices, against trying all sets."""

from itertools import chain, combinations
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.policy.eviction import EXACT_LIMIT, cheapest_sufficient


@pytest.mark.parametrize(
    ("case", "costs", "frees", "lack", "expected"),
    [
        ("nothing is missing", [1], [[1]], [0], ()),
        ("nobody is there", [], [], [1], None),
        ("all together do not suffice", [1, 1], [[1], [1]], [3], None),
        ("the cheaper of two", [5, 1], [[1], [1]], [1], (1,)),
        ("one dear slot is less than two cheap ones", [3, 2, 2], [[2], [1], [1]], [2], (0,)),
        ("two cheap slots are less than one dear one", [5, 2, 2], [[2], [1], [1]], [2], (1, 2)),
        ("each brings what the other has not", [1, 1, 9], [[1, 0], [0, 1], [1, 1]], [1, 1], (0, 1)),
        ("free, but of no use", [0, 4], [[0, 1], [1, 0]], [1, 0], (1,)),
        ("no waste where two cost nothing", [0, 0], [[1], [1]], [1], (0,)),
        ("a resource that is not missing does not count", [1, 2], [[0, 8], [1, 0]], [1, -3], (1,)),
    ],
)
def test_choice(
    case: str, costs: list[float], frees: list[list[float]], lack: list[float], expected: tuple[int, ...] | None
) -> None:
    assert cheapest_sufficient(costs, frees, lack) == expected, case


def test_a_dearer_set_than_what_is_known_already_is_not_of_interest() -> None:
    assert cheapest_sufficient([4.0], [[1.0]], [1.0], limit=4.0) is None
    assert cheapest_sufficient([4.0], [[1.0]], [1.0], limit=4.1) == (0,)


candidates = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 3)), max_size=8)


def suffices(chosen: tuple[int, ...], frees: list[list[float]], lack: list[float]) -> bool:
    return all(sum(frees[i][r] for i in chosen) >= lack[r] for r in range(len(lack)))


@settings(max_examples=300)
@given(found=candidates, lack=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_no_sufficient_set_is_cheaper_and_none_of_the_chosen_could_stay(
    found: list[tuple[int, int, int]], lack: tuple[int, int]
) -> None:
    costs = [float(cost) for cost, _, _ in found]
    frees = [[float(a), float(b)] for _, a, b in found]
    missing = [float(amount) for amount in lack]
    sets = chain.from_iterable(combinations(range(len(found)), size) for size in range(len(found) + 1))
    prices = [sum(costs[i] for i in chosen) for chosen in sets if suffices(chosen, frees, missing)]
    answer = cheapest_sufficient(costs, frees, missing)
    if answer is None:
        assert not prices
        return
    assert sum(costs[i] for i in answer) == min(prices, default=inf)
    assert not any(suffices(tuple(set(answer) - {i}), frees, missing) for i in answer)


@settings(max_examples=50)
@given(
    found=st.lists(st.tuples(st.floats(0, 9), st.integers(0, 3)), min_size=EXACT_LIMIT + 1, max_size=EXACT_LIMIT + 12),
    lack=st.integers(1, 20),
)
def test_many_candidates_suffice_without_waste(found: list[tuple[float, int]], lack: int) -> None:
    costs, frees = [cost for cost, _ in found], [[float(free)] for _, free in found]
    answer = cheapest_sufficient(costs, frees, [float(lack)])
    if answer is None:
        assert sum(free for _, free in found) < lack
        return
    assert suffices(answer, frees, [lack])
    assert not any(suffices(tuple(set(answer) - {i}), frees, [lack]) for i in answer)
