"""The yardstick of the contention test against every order of loads, on small cases."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.swaps import fewest_swaps


def by_brute_force(wishes: list[list[str]]) -> int:
    """Try all sequences of loads, the shortest first."""
    for count in itertools.count():
        for order in itertools.product("abc", repeat=count):
            rest = [list(names) for names in wishes]
            for name in order:
                for names in rest:
                    while names and names[0] == name:
                        names.pop(0)
            if not any(rest):
                return count
    raise AssertionError("unreachable")


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), min_size=1, max_size=3))
def test_no_order_of_loads_needs_fewer(wishes: list[list[str]]) -> None:
    assert fewest_swaps(wishes) == by_brute_force(wishes)
