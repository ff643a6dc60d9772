"""Who is next in line."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.line import Line, Waiter


def drained(line: Line[str]) -> list[Waiter[str]]:
    order = []
    while (waiter := line.head()) is not None:
        line.grant(waiter, "lease")
        order.append(waiter)
    return order


async def test_higher_priority_goes_first_and_equals_in_the_order_of_their_coming() -> None:
    line: Line[str] = Line()
    waiters = [line.join(priority) for priority in (0, 5, -1, 5, 0)]
    assert (len(line), line.priority) == (5, 5)
    assert drained(line) == [waiters[at] for at in (1, 3, 0, 4, 2)]
    assert (len(line), line.priority, line.since) == (0, None, None)
    assert {waiter.granted.result() for waiter in waiters} == {"lease"}


async def test_light_ones_go_first_without_passing_for_important() -> None:
    line: Line[str] = Line()
    heavy, light = line.join(7), line.join(-5, light=True)
    assert line.priority == 7
    assert drained(line) == [light, heavy]


async def test_who_leaves_is_passed_over() -> None:
    line: Line[str] = Line()
    first, second, third = line.join(1), line.join(1), line.join(0)
    line.leave(first)
    line.leave(first)
    assert (len(line), line.head()) == (2, second)
    line.leave(second)
    assert (line.priority, line.since) == (0, third.since)


async def test_the_longest_wait_is_that_of_the_first_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 20.0, 30.0])
    monkeypatch.setattr("time.time", lambda: next(clock))
    line: Line[str] = Line()
    first, second, _ = Waiter[str](0, False, since=10.0), line.join(0), line.join(9)
    assert line.since == second.since
    assert not first.granted.done()


async def test_who_was_cancelled_but_has_not_left_yet_is_given_nothing() -> None:
    line: Line[str] = Line()
    cancelled, other = line.join(9), line.join(0)
    cancelled.granted.cancel()
    assert line.head() is other
    line.refuse_all(ValueError("no"))
    assert isinstance(other.granted.exception(), ValueError)
    assert cancelled.granted.cancelled()


async def test_a_refusal_reaches_all_and_empties_the_line() -> None:
    line: Line[str] = Line()
    waiters = [line.join(priority) for priority in (0, 1)]
    line.refuse_all(ValueError("no"))
    assert (len(line), line.head()) == (0, None)
    assert all(isinstance(waiter.granted.exception(), ValueError) for waiter in waiters)
    line.refuse_all(ValueError("nobody is there"))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(-2, 2), st.booleans()),
            st.tuples(st.just("leave"), st.integers(0, 9), st.just(False)),
            st.tuples(st.just("grant"), st.just(0), st.just(False)),
        ),
        max_size=40,
    )
)
def test_the_order_is_that_of_a_sorted_list(steps: list[tuple[str, int, bool]]) -> None:
    async def run() -> None:
        line: Line[str] = Line()
        expected: list[Waiter[str]] = []
        arrivals: Counter[Waiter[str]] = Counter()
        for number, (what, value, light) in enumerate(steps):
            if what == "join":
                waiter = line.join(value, light)
                arrivals[waiter] = number
                expected.append(waiter)
                expected.sort(key=lambda one: (not one.light, -one.priority, arrivals[one]))
            elif what == "leave" and expected:
                line.leave(expected.pop(value % len(expected)))
            elif what == "grant" and expected:
                line.grant(expected[0], "lease")
                assert expected.pop(0).granted.result() == "lease"
            assert line.head() is (expected[0] if expected else None)
            assert len(line) == len(expected)
            assert line.priority == max((one.priority for one in expected), default=None)

    asyncio.run(run())
