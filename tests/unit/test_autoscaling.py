"""The policy as a table: rule and demand in, replicas out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.autoscaling import Demand, SlotRule, target_replicas


def rule(low: int = 0, high: int = 1, unload_after_s: float | None = 60, per_replica: int = 1) -> SlotRule:
    return SlotRule(low, high, unload_after_s, per_replica)


def demand(replicas: int = 0, target: int = 0, leases: float = 0, quiet_s: tuple[float, ...] = ()) -> Demand:
    return Demand(replicas, target, leases, quiet_s)


@pytest.mark.parametrize(
    ("case", "rules", "wants", "expected"),
    [
        ("nobody asks", rule(), demand(), 0),
        ("first request", rule(), demand(leases=1), 1),
        ("waiting for the first replica", rule(), demand(target=1, leases=1), 1),
        ("nobody waits any more for a replica that never came", rule(), demand(target=1), 0),
        ("in use", rule(), demand(1, 1, leases=1, quiet_s=(0,)), 1),
        ("quiet, but not for long enough", rule(), demand(1, 1, quiet_s=(59,)), 1),
        ("quiet for long enough", rule(), demand(1, 1, quiet_s=(60,)), 0),
        ("replica has not reported yet", rule(), demand(1, 1), 1),
        ("unloads at once", rule(unload_after_s=0), demand(1, 1, quiet_s=(0,)), 0),
        ("never unloads", rule(unload_after_s=None), demand(1, 1, quiet_s=(1e9,)), 1),
        ("floor", rule(low=1), demand(1, 1, quiet_s=(1e9,)), 1),
        ("pinned and not there yet", rule(low=1), demand(), 1),
        ("more leases, more replicas", rule(high=3), demand(1, 1, leases=2), 2),
        ("never above the ceiling", rule(high=3), demand(3, 3, leases=9), 3),
        ("two ingresses hold one lease each", rule(high=3, per_replica=2), demand(1, 1, leases=2), 1),
        ("of two that nobody uses one stays warm", rule(high=2), demand(2, 2, quiet_s=(70, 3)), 1),
    ],
)
def test_target(case: str, rules: SlotRule, wants: Demand, expected: int) -> None:
    assert target_replicas(rules, wants) == expected, case


bounds = st.tuples(st.integers(0, 4), st.integers(1, 6)).filter(lambda pair: pair[0] <= pair[1])


@given(
    bounds=bounds,
    unload=st.one_of(st.none(), st.floats(0, 1000)),
    per=st.integers(1, 4),
    replicas=st.integers(0, 6),
    target=st.integers(0, 6),
    leases=st.floats(0, 50),
    quiet=st.lists(st.floats(0, 2000), max_size=6),
)
def test_target_stays_within_bounds_and_never_abandons_a_lease(
    bounds: tuple[int, int],
    unload: float | None,
    per: int,
    replicas: int,
    target: int,
    leases: float,
    quiet: list[float],
) -> None:
    answer = target_replicas(SlotRule(*bounds, unload, per), Demand(replicas, target, leases, tuple(quiet)))
    assert bounds[0] <= answer <= bounds[1]
    if leases > 0:
        assert answer >= 1
