"""The policy at work on a simulated fleet: what must hold whatever comes."""

from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.fleet import Decision, Fleet, Group, NodeSeen, Phase, Rules, SlotRule, SlotSeen
from tests.support.fleet_simulator import Arrival, FleetSimulator, SlotTruth, Timing

LONGEST_REQUEST_S = 6.0
LONGEST_LOAD_S = 4.0
TURN_S = 8.0
SWAP_S = 8.0
"""Replicas come and go, news is late, and quiet slots have their grace."""


def check(simulator: FleetSimulator, fleet: Fleet, decision: Decision) -> None:
    """After each decision, before it acts."""
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
                assert not seen.queued or seen.loaded_at is None or seen.queued_since > seen.loaded_at
    assert not decision.yielding.intersection(name for name, seen in fleet.slots.items() if seen.pinned)
    assert not set(decision.waits).intersection(n for n, target in decision.targets.items() if target > 0)
    no_exclusive_pair(simulator)


def excused(seen: object) -> bool:
    """A person or a failed load ends a slot whatever it does."""
    unwanted = bool(seen.unwanted)
    return unwanted or any(one.phase is Phase.FAILED for one in seen.replicas)


def no_exclusive_pair(simulator: FleetSimulator) -> None:
    for group in simulator.rules.groups:
        if group.exclusive:
            there = [name for name in group.slots if simulator.slots[name].replicas]
            assert len(there) <= 1, there


@st.composite
def fleets(draw: st.DrawFn, nodes: int = 1, pins: bool = True) -> FleetSimulator:
    """Every slot fits onto an empty node, pins leave room for every other slot."""
    names = [f"s{index}" for index in range(draw(st.integers(2, 6)))]
    rules, slots = {}, {}
    for name in names:
        claim = {"GPU": draw(st.sampled_from([0.5, 1.0, 1.5, 2.0]))}
        if draw(st.booleans()):
            claim["npu"] = 1.0
        rules[name] = SlotRule(
            claim,
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
    arrival = st.builds(Arrival, st.floats(0, 60), st.sampled_from(names), st.floats(0.05, LONGEST_REQUEST_S))
    simulator.expect(draw(st.lists(arrival, max_size=40)))
    return simulator


def bound_s(ahead: int) -> float:
    return (ahead + 2) * (TURN_S + LONGEST_REQUEST_S + LONGEST_LOAD_S + SWAP_S)


def run_to_the_end(simulator: FleetSimulator) -> None:
    simulator.run(60.0)
    limit = simulator.now + bound_s(len(simulator.slots)) + 40 * LONGEST_REQUEST_S
    while any(slot.queue or slot.in_flight for slot in simulator.slots.values()):
        assert simulator.now < limit, [name for name, slot in simulator.slots.items() if slot.queue]
        simulator.run(simulator.now + 5)


quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(simulator=fleets())
def test_one_node_is_never_overdrawn_and_nobody_starves(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    assert simulator.never_placed == 0
    for one in simulator.starved:
        assert one.waited_s <= bound_s(len(simulator.slots)), one


@quick
@given(simulator=fleets(nodes=3))
def test_many_nodes_on_which_ray_places_as_it_likes(simulator: FleetSimulator) -> None:
    run_to_the_end(simulator)
    for one in simulator.starved:
        assert one.waited_s <= 2 * bound_s(len(simulator.slots)), one


@quick
@given(simulator=fleets(), at=st.lists(st.floats(0, 60), max_size=4), chance=st.randoms(use_true_random=False))
def test_people_may_interfere(simulator: FleetSimulator, at: list[float], chance: Random) -> None:
    for moment in at:
        name = chance.choice(list(simulator.slots))
        acts: list[Callable[[str], None]] = [simulator.unload, simulator.want, lambda slot: simulator.pin(slot, False)]
        act = chance.choice(acts)
        simulator.after(moment, lambda act=act, name=name: act(name))
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
