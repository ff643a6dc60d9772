"""The policy at work on a simulated fleet: what must hold whatever comes."""

from collections.abc import Callable
from functools import partial
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.scheduling import Day, Tally, simulator_of
from benchmarks.scheduling import bound_s as day_bound_s
from serve_app.fleet import Decision, Fleet, Group, NodeSeen, Phase, Rules, SlotRule, SlotSeen
from serve_app.policy.eviction import TOLERANCE
from tests.support.fleet_simulator import Arrival, FleetSimulator, SlotTruth, Timing

LONGEST_REQUEST_S = 6.0
LONGEST_LOAD_S = 4.0
TURN_S = 8.0
SWAP_S = 8.0
"""Replicas come and go, news is late, and quiet slots have their grace."""


def check(simulator: FleetSimulator, fleet: Fleet, decision: Decision) -> None:
    """After each decision, before it acts."""
    again = simulator.scheduler.decide(fleet, simulator.now)
    # Whom it has just asked to give way is cheaper to lose than before, and may be named to others who wait.
    assert (again.targets, again.places, again.yielding) == (decision.targets, decision.places, decision.yielding)
    assert set(again.waits) == set(decision.waits)
    assert set(decision.places) == {name for name, target in decision.targets.items() if target > fleet.targets[name]}
    for name, target in decision.targets.items():
        seen, before = fleet.slots.get(name), fleet.targets[name]
        assert target != before
        if target > before:
            assert seen is not None and (seen.next_try is None or seen.next_try <= simulator.now)
            assert target <= simulator.rules.slots[name].max_replicas
        elif seen is not None and target < min(before, len(seen.replicas)) and not excused(seen):
            assert not seen.pinned or target >= 1
            assert target >= simulator.rules.slots[name].min_replicas
            assert all(one.phase is not Phase.LOADING for one in seen.replicas)
            if not target:
                assert not seen.in_flight
                assert not seen.queued or name in decision.yielding
                assert seen.queued_since is None or seen.loaded_at is None or seen.queued_since > seen.loaded_at
    assert not decision.yielding.intersection(name for name, seen in fleet.slots.items() if seen.pinned)
    assert not set(decision.waits).intersection(n for n, target in decision.targets.items() if target > 0)
    no_exclusive_pair(simulator)
    nothing_overdrawn(simulator, fleet, decision)


def nothing_overdrawn(simulator: FleetSimulator, fleet: Fleet, decision: Decision) -> None:
    """What is seen, and what is to start beside it."""
    used = {name: dict.fromkeys(node.total, 0.0) for name, node in fleet.nodes.items()}
    seen = {
        name: [place for one in slot.replicas for place in (one.node, *one.further)]
        for name, slot in fleet.slots.items()
    }
    for name, rule in simulator.rules.slots.items():
        places = decision.places.get(name, ())
        assert len(places) in (0, rule.stages)
        for node in (*seen.get(name, ()), *places):
            for resource, amount in rule.claim.items():
                used[node][resource] += amount
    for name, there in fleet.nodes.items():
        assert all(used[name][resource] <= total + TOLERANCE for resource, total in there.total.items()), name


def excused(seen: SlotSeen) -> bool:
    """A person or a failed load ends a slot whatever it does."""
    return seen.unwanted or any(one.phase is Phase.FAILED for one in seen.replicas)


def no_exclusive_pair(simulator: FleetSimulator) -> None:
    for group in simulator.rules.groups:
        if group.exclusive:
            there = [name for name in group.slots if simulator.slots[name].replicas]
            assert len(there) <= 1, there


@st.composite
def fleets(draw: st.DrawFn, nodes: int = 1, pins: bool = True, stages: int = 1) -> FleetSimulator:
    """Every slot fits onto an empty node, or its stages onto all of them; pins leave room for every other slot."""
    names = [f"s{index}" for index in range(draw(st.integers(2, 6)))]
    rules, slots = {}, {}
    for name in names:
        claim = {"GPU": draw(st.sampled_from([0.5, 1.0, 1.5, 2.0]))}
        if draw(st.booleans()):
            claim["npu"] = 1.0
        rules[name] = SlotRule(
            claim,
            draw(st.sampled_from([1, stages])),
            max_replicas=draw(st.sampled_from([1, 1, 2])),
            parallel_requests=draw(st.integers(1, 3)),
            idle_after_s=draw(st.sampled_from([0.5, 5.0])),
            unload_after_s=draw(st.sampled_from([0.0, 10.0, None])),
            priority=draw(st.integers(0, 2)),
        )
        needs = {"memory": draw(st.sampled_from([0.0, 4.0, 8.0]))} if nodes == 1 else {}
        load_s = draw(st.floats(0.2, LONGEST_LOAD_S))
        slots[name] = SlotTruth(load_s, needs, fails=draw(st.sampled_from([0, 0, 0, 1])))
    groups = []
    if draw(st.booleans()):
        groups.append(Group(frozenset(draw(st.lists(st.sampled_from(names), min_size=2, max_size=3))), True))
    fleet = {f"n{index}": NodeSeen({"GPU": 2.0, "npu": 1.0, "memory": 10.0}) for index in range(nodes)}
    if pins and draw(st.booleans()):
        rules["pin"] = SlotRule({"GPU": 0.25})
        slots["pin"] = SlotTruth(1.0, {}, pinned=True)
        fleet = {name: NodeSeen({**node.total, "GPU": 2.25}) for name, node in fleet.items()}
    simulator = FleetSimulator(
        Rules(rules, tuple(groups), turn_s=TURN_S),
        fleet,
        slots,
        Random(draw(st.integers(0, 1000))),
        Timing(board_lag_s=draw(st.sampled_from([0.0, 0.3]))),
        check,
    )
    chance = Random(draw(st.integers(0, 1000)))
    count, until = draw(st.integers(0, 60)), draw(st.sampled_from([20, 60]))
    simulator.expect(
        Arrival(chance.uniform(0, until), chance.choice(names), chance.uniform(0.05, LONGEST_REQUEST_S))
        for _ in range(count)
    )
    return simulator


def bound_s(simulator: FleetSimulator) -> float:
    """Of a slot that finds all others ahead of it. A turn is longer where more requests waited for it than are answered
    in one: these are served first."""
    backlog_s = simulator.longest_queue * LONGEST_REQUEST_S
    return (len(simulator.slots) + 1) * (max(TURN_S, backlog_s) + LONGEST_REQUEST_S + LONGEST_LOAD_S + SWAP_S)


def run_to_the_end(simulator: FleetSimulator) -> None:
    simulator.run(60.0)
    limit = simulator.now + 2 * bound_s(simulator)
    while any(slot.queue or slot.in_flight for slot in simulator.slots.values()):
        assert simulator.now < limit, [name for name, slot in simulator.slots.items() if slot.queue]
        simulator.run(simulator.now + 5)


quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(simulator=fleets())
def test_one_node_is_never_overdrawn_and_nobody_starves(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    assert simulator.never_placed == 0
    for one in simulator.starved:
        assert one.waited_s <= bound_s(simulator), one


@quick
@given(simulator=fleets(nodes=3))
def test_many_nodes_on_which_ray_places_as_planned_where_it_can(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    for one in simulator.starved:
        assert one.waited_s <= bound_s(simulator), one


@settings(quick, max_examples=20)
@given(simulator=fleets(nodes=3, stages=3, pins=False))
def test_slots_over_several_nodes_get_a_place_for_every_stage(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    for one in simulator.starved:
        assert one.waited_s <= bound_s(simulator), one


@quick
@given(simulator=fleets(), at=st.lists(st.floats(0, 60), max_size=4), chance=st.randoms(use_true_random=False))
def test_people_may_interfere(simulator: FleetSimulator, at: list[float], chance: Random) -> None:
    for moment in at:
        name = chance.choice(list(simulator.slots))
        acts: list[Callable[[str], None]] = [simulator.unload, simulator.want, lambda slot: simulator.pin(slot, False)]
        act = chance.choice(acts)
        simulator.after(moment, partial(act, name))
    run_to_the_end(simulator)
    assert simulator.never_placed == 0


@quick
@given(simulator=fleets())
def test_a_settled_fleet_is_left_alone(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    simulator.run(simulator.now + 100)
    stops, starts = simulator.stops, simulator.starts
    simulator.run(simulator.now + 1000)
    assert (simulator.stops, simulator.starts) == (stops, starts)


def test_a_small_day() -> None:
    """The day of `benchmarks.scheduling`, in small: what must hold, whatever it costs."""
    tally = Tally()
    simulator = simulator_of(Day(slots=50, nodes=10, hours=2, seed=3, rush=8), tally, decided=check)
    simulator.run(2 * 3600)
    simulator.run(simulator.now + 3600)
    assert not any(slot.queue for slot in simulator.slots.values())
    assert tally.evictions > 10
    assert max(tally.waiting) > 1
    assert simulator.answered == simulator.arrived
    assert not [one for one in simulator.starved if one.waited_s > day_bound_s(one.ahead)]


def test_two_busy_slots_take_turns() -> None:
    rule = SlotRule({"GPU": 1.0}, parallel_requests=4)
    rules = Rules({"a": rule, "b": rule}, turn_s=TURN_S)
    slots = {"a": SlotTruth(1.0, {}), "b": SlotTruth(1.0, {})}
    simulator = FleetSimulator(rules, {"n": NodeSeen({"GPU": 1.0})}, slots, Random(1), decided=check)
    simulator.expect(Arrival(at / 2, name, 0.5) for at in range(240) for name in ("a", "b"))
    simulator.run(120)
    assert 8 <= simulator.starts <= 20
    assert max(one.waited_s for one in simulator.starved) < 3 * TURN_S
