"""Each rule of the policy: what is seen goes in, what is decided comes out."""

from collections.abc import Mapping
from typing import Any

import pytest

from serve_app.fleet import Decision, Fleet, Group, NodeSeen, Phase, ReplicaSeen, Rules, SlotRule, SlotSeen
from serve_app.policy.placing import CLEARED_FOR
from serve_app.policy.scheduling import Scheduler

NOW = 1000.0
ONE_GPU = {"n": NodeSeen({"GPU": 1.0})}


def rule(gpu: float = 1, **given: Any) -> SlotRule:
    return SlotRule(claim={"GPU": gpu}, **given)


def ready(node: str = "n", **given: Any) -> SlotSeen:
    """Loaded 100 s ago, quiet for 50 s, unless told otherwise."""
    known = {"replicas": (ReplicaSeen(node, Phase.READY),), "loaded_at": NOW - 100, "last_used": NOW - 50, "load_s": 5}
    return SlotSeen(**{**known, **given})


def busy(node: str = "n", **given: Any) -> SlotSeen:
    return ready(node, **{"in_flight": 1, "last_used": None, **given})


def queued(since_s: float = 1, **given: Any) -> SlotSeen:
    return SlotSeen(**{"queued": 1, "queued_since": NOW - since_s, **given})


def phase(which: Phase, node: str = "n", **given: Any) -> SlotSeen:
    return SlotSeen(**{"replicas": (ReplicaSeen(node, which),), **given})


def fleet(
    slots: Mapping[str, SlotSeen], targets: Mapping[str, int] | None = None, nodes: Mapping[str, NodeSeen] = ONE_GPU
) -> Fleet:
    """Serve aims at what is there, unless told otherwise."""
    there = {name: sum(one.phase is not Phase.LEAVING for one in seen.replicas) for name, seen in slots.items()}
    return Fleet(slots, nodes, {**there, **(targets or {})})


def decide(
    slots: Mapping[str, SlotSeen],
    rules: Mapping[str, SlotRule] | None = None,
    targets: Mapping[str, int] | None = None,
    nodes: Mapping[str, NodeSeen] = ONE_GPU,
    now: float = NOW,
    **more: Any,
) -> Decision:
    known = rules or {name: rule() for name in slots}
    return Scheduler(Rules(known, **more)).decide(fleet(slots, targets, nodes), now)


def test_a_queued_request_starts_its_slot() -> None:
    decision = decide({"chat": queued()})
    assert decision.targets == {"chat": 1}
    assert not decision.waits
    assert not decision.yielding


@pytest.mark.parametrize(
    ("case", "seen", "expected"),
    [
        ("asked for without a request", SlotSeen(wanted=True), {"chat": 1}),
        ("pinned", SlotSeen(pinned=True), {"chat": 1}),
        ("it failed, and may not be tried yet", queued(next_try=NOW + 1), {}),
        ("it failed, and may be tried again", queued(next_try=NOW), {"chat": 1}),
        ("pinned, failed, and not to be tried yet", SlotSeen(pinned=True, next_try=NOW + 1), {}),
        ("its load has failed", phase(Phase.FAILED, next_try=NOW + 9), {"chat": 0}),
        ("its load has failed while requests wait", phase(Phase.FAILED, queued=1, next_try=NOW + 9), {"chat": 0}),
        ("a person unloads it", ready(unwanted=True), {"chat": 0}),
        ("a person unloads it in spite of its pin", ready(unwanted=True, pinned=True), {"chat": 0}),
        ("a person unloads it while it loads", phase(Phase.LOADING, unwanted=True, wanted=True), {"chat": 0}),
        ("quiet, but not for long enough", ready(last_used=NOW - 299), {}),
        ("quiet for long enough", ready(loaded_at=NOW - 500, last_used=NOW - 300), {"chat": 0}),
        ("used long ago, loaded lately", ready(loaded_at=NOW - 9, last_used=NOW - 900), {}),
        ("busy for long", busy(loaded_at=NOW - 900), {}),
        ("loading for long", phase(Phase.LOADING, last_used=NOW - 9000), {}),
        ("pinned, and quiet for long", ready(pinned=True, loaded_at=NOW - 9000, last_used=NOW - 9000), {}),
    ],
)
def test_one_slot_alone(case: str, seen: SlotSeen, expected: dict[str, int]) -> None:
    assert decide({"chat": seen}).targets == expected, case


@pytest.mark.parametrize(("after_s", "expected"), [(0.0, {"chat": 0}), (50.0, {"chat": 0}), (None, {})])
def test_unload_after(after_s: float | None, expected: dict[str, int]) -> None:
    assert decide({"chat": ready()}, {"chat": rule(unload_after_s=after_s)}).targets == expected


def test_a_slot_on_its_way_out_is_left_alone_until_it_is_gone() -> None:
    """Its replica may be gone in truth: Serve would start one if it were named."""
    slots = {"chat": ready(queued=1, queued_since=NOW - 1)}
    decision = decide(slots, targets={"chat": 0})
    assert decision.targets == {}
    assert decision.waits["chat"].reason == "its last replica is still leaving"


def test_a_start_that_nobody_wants_any_more_is_called_off_when_nothing_comes_of_it() -> None:
    scheduler = Scheduler(Rules({"chat": rule()}))
    nothing = Fleet({}, ONE_GPU, {"chat": 1})
    assert scheduler.decide(nothing, NOW).targets == {}
    assert scheduler.decide(nothing, NOW + 11).targets == {"chat": 0}


# Load.


def test_more_requests_than_a_replica_answers_at_once_ask_for_a_second() -> None:
    rules = {"chat": rule(0.5, max_replicas=3, parallel_requests=2)}
    assert decide({"chat": busy(in_flight=2)}, rules).targets == {}
    assert decide({"chat": busy(in_flight=2, queued=1, queued_since=NOW)}, rules).targets == {"chat": 2}


def test_a_second_replica_evicts_nobody() -> None:
    rules = {"chat": rule(0.5, max_replicas=3, parallel_requests=1), "idle": rule(0.5)}
    assert decide({"chat": busy(in_flight=3), "idle": ready()}, rules).targets == {}


def test_fewer_replicas_only_after_a_while_with_less_load() -> None:
    rules = {"chat": rule(0.25, max_replicas=3, parallel_requests=1, idle_after_s=10)}
    scheduler = Scheduler(Rules(rules))
    three = tuple(ReplicaSeen("n", Phase.READY) for _ in range(3))
    assert scheduler.decide(fleet({"chat": busy(replicas=three, in_flight=1)}), NOW).targets == {}
    assert scheduler.decide(fleet({"chat": busy(replicas=three, in_flight=2)}), NOW + 5).targets == {}
    calm = fleet({"chat": busy(replicas=three, in_flight=1)})
    assert scheduler.decide(calm, NOW + 9).targets == {}
    assert scheduler.decide(calm, NOW + 10).targets == {"chat": 2}


def test_fewer_replicas_and_then_fewer_still() -> None:
    scheduler = Scheduler(Rules({"chat": rule(0.25, max_replicas=3, parallel_requests=1, idle_after_s=10)}))
    three = tuple(ReplicaSeen("n", Phase.READY) for _ in range(3))
    for after_s, in_flight, left, targets in (
        (0, 2, 3, {}),
        (10, 1, 3, {"chat": 2}),
        (11, 1, 2, {}),
        (21, 1, 2, {"chat": 1}),
    ):
        seen = fleet({"chat": busy(replicas=three[:left], in_flight=in_flight)})
        assert scheduler.decide(seen, NOW + after_s).targets == targets, after_s


def test_a_burst_forgets_that_fewer_would_do() -> None:
    scheduler = Scheduler(Rules({"chat": rule(0.25, max_replicas=2, parallel_requests=1, idle_after_s=10)}))
    two = tuple(ReplicaSeen("n", Phase.READY) for _ in range(2))
    for after_s, in_flight in ((0, 1), (8, 2), (9, 1), (18, 1)):
        seen = fleet({"chat": busy(replicas=two, in_flight=in_flight)})
        assert scheduler.decide(seen, NOW + after_s).targets == {}


def test_the_floor_is_filled_one_by_one_and_evicts() -> None:
    rules = {"floor": rule(0.5, min_replicas=2, max_replicas=2), "idle": rule(0.5)}
    decision = decide({"floor": ready(), "idle": ready()}, rules)
    assert decision.targets == {"idle": 0}
    assert decision.waits["floor"].blockers == ("idle",)


# Room.


def test_an_idle_slot_gives_way() -> None:
    decision = decide({"old": ready(), "new": queued()})
    assert decision.targets == {"old": 0}
    assert decision.waits["new"].reason == "waits for 'old' to unload"


def test_the_cheapest_of_two_idle_slots_gives_way() -> None:
    """Little used, against quick to load again."""
    slots = {"quick": ready(load_s=1), "slow": ready(load_s=60), "new": queued()}
    rules = {"quick": rule(0.5), "slow": rule(0.5), "new": rule(0.5)}
    assert decide(slots, rules).targets == {"quick": 0}
    slots["slow"] = ready(load_s=60, loaded_at=NOW - 90_000, last_used=NOW - 90_000)
    assert decide(slots, {**rules, "slow": rule(0.5, unload_after_s=None)}).targets == {"slow": 0}


def test_no_more_than_needed_gives_way() -> None:
    slots = {"a": ready(load_s=1), "b": ready(load_s=1), "c": ready(load_s=9), "new": queued()}
    rules = {"a": rule(0.25), "b": rule(0.25), "c": rule(0.5), "new": rule(0.5)}
    assert decide(slots, rules).targets == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("case", "there"),
    [
        ("pinned", ready(pinned=True)),
        ("in use", busy()),
        ("about to be used", ready(queued=1, queued_since=NOW - 0.1)),
        ("loading", phase(Phase.LOADING)),
        ("used a moment ago", ready(last_used=NOW - 0.1)),
    ],
)
def test_what_does_not_give_way(case: str, there: SlotSeen) -> None:
    decision = decide({"there": there, "new": queued()})
    assert decision.targets == {}, case
    assert decision.waits["new"].blockers == ("there",)
    assert decision.waits["new"].hopeless is there.pinned


def test_the_floor_does_not_give_way_but_what_is_above_it_does() -> None:
    two = (ReplicaSeen("n", Phase.READY), ReplicaSeen("n", Phase.READY))
    rules = {"floor": rule(0.5, min_replicas=1, max_replicas=2, idle_after_s=99), "new": rule(0.5)}
    assert decide({"floor": ready(replicas=two), "new": queued()}, rules).targets == {"floor": 1}


def test_room_that_becomes_free_is_awaited_and_kept() -> None:
    """`second` would fit only into what `first` waits for."""
    slots = {"old": phase(Phase.LEAVING), "idle": ready(), "first": queued(9), "second": queued(5)}
    rules = {name: rule(0.5) for name in slots}
    decision = decide(slots, {**rules, "first": rule(0.5), "idle": rule(0.5)})
    assert decision.targets == {"idle": 0}
    assert decision.waits["first"].reason == "waits for 'old' to unload"
    assert decision.waits["second"].reason == "waits for 'idle' to unload"


def test_a_later_slot_takes_other_room_but_not_what_is_kept() -> None:
    nodes = {"a": NodeSeen({"GPU": 2.0}), "b": NodeSeen({"GPU": 0.5})}
    slots = {"old": phase(Phase.LEAVING, "a"), "big": queued(9), "small": queued(5), "middle": queued(3)}
    rules = {"old": rule(), "big": rule(2), "small": rule(0.5), "middle": rule(1)}
    decision = decide(slots, rules, nodes=nodes)
    assert decision.targets == {"small": 1}
    assert "kept" not in decision.waits["big"].reason
    assert decision.waits["middle"].blockers == ("old", "big")


def test_needs_beside_the_claim_count_where_the_node_declares_them() -> None:
    nodes = {"n": NodeSeen({"GPU": 1.0, "memory": 100.0})}
    rules = {"a": rule(0.1), "b": rule(0.1)}
    slots = {"a": busy(needs={"memory": 60.0}), "b": queued(needs={"memory": 60.0})}
    assert decide(slots, rules, nodes=nodes).targets == {}
    assert decide(slots, rules, nodes={"n": NodeSeen({"GPU": 1.0})}).targets == {"b": 1}


def test_needs_do_not_count_twice_what_is_claimed() -> None:
    nodes = {"n": NodeSeen({"memory": 100.0})}
    rules = {"a": SlotRule({"memory": 60.0})}
    assert decide({"a": queued(needs={"memory": 70.0})}, rules, nodes=nodes).targets == {"a": 1}


def test_a_replica_that_starts_unseen_holds_its_place() -> None:
    scheduler = Scheduler(Rules({"a": rule(), "b": rule()}))
    assert scheduler.decide(fleet({"a": queued(), "b": queued(0.5)}), NOW).targets == {"a": 1}
    decision = scheduler.decide(fleet({"a": queued(), "b": queued(0.5)}, {"a": 1}), NOW + 0.1)
    assert decision.targets == {}
    assert decision.waits["b"].blockers == ("a",)


def test_a_start_whose_place_went_to_another_waits_in_the_line_again() -> None:
    """Ray has put `wide` onto the only node that `narrow` can use."""
    nodes = {"x": NodeSeen({"GPU": 1.0, "npu": 1.0}), "y": NodeSeen({"GPU": 1.0})}
    rules = {"wide": rule(), "narrow": SlotRule({"GPU": 1.0, "npu": 1.0})}
    scheduler = Scheduler(Rules(rules))
    both = fleet({"narrow": queued(9), "wide": queued()}, nodes=nodes)
    assert scheduler.decide(both, NOW).targets == {"narrow": 1, "wide": 1}
    stranded = fleet({"narrow": queued(9), "wide": ready("x")}, {"narrow": 1}, nodes)
    assert scheduler.decide(stranded, NOW + 1).targets == {}
    assert scheduler.decide(stranded, NOW + 6).targets == {"wide": 0}


# Groups.


def test_an_exclusive_group_has_one_member_wherever_it_lives() -> None:
    nodes = {"x": NodeSeen({"GPU": 1.0}), "y": NodeSeen({"GPU": 1.0})}
    groups = (Group(frozenset({"a", "b"}), exclusive=True),)
    slots = {"a": ready("x"), "b": queued()}
    assert decide(slots, nodes=nodes).targets == {"b": 1}
    assert decide(slots, nodes=nodes, groups=groups).targets == {"a": 0}
    going = decide({"a": phase(Phase.LEAVING, "x"), "b": queued()}, nodes=nodes, groups=groups)
    assert going.targets == {}
    assert going.waits["b"].reason == "may not be loaded beside 'a'; waits for 'a' (unloading)"


def test_two_members_of_an_exclusive_group_never_start_together() -> None:
    nodes = {"x": NodeSeen({"GPU": 2.0})}
    groups = (Group(frozenset({"a", "b"}), exclusive=True),)
    decision = decide({"a": queued(3), "b": queued(2)}, nodes=nodes, groups=groups)
    assert decision.targets == {"a": 1}
    assert decision.waits["b"].blockers == ("a",)


def test_a_pinned_rival_makes_it_hopeless() -> None:
    groups = (Group(frozenset({"a", "b"}), exclusive=True),)
    nodes = {"x": NodeSeen({"GPU": 2.0})}
    wait = decide({"a": ready("x", pinned=True), "b": queued()}, nodes=nodes, groups=groups).waits["b"]
    assert wait.hopeless
    assert wait.blockers == ("a",)


def test_members_of_a_group_that_stays_together_do_not_evict_one_another() -> None:
    slots = {"a": ready(), "other": ready(load_s=100), "b": queued()}
    rules = {name: rule(0.5) for name in slots}
    groups = (Group(frozenset({"a", "b"}), exclusive=False),)
    assert decide(slots, rules).targets == {"a": 0}
    assert decide(slots, rules, groups=groups).targets == {"other": 0}
    alone = {"a": ready(), "b": queued()}
    assert decide(alone, groups=groups).targets == {}


# Turns.


def test_a_busy_slot_gives_way_when_its_turn_is_over_and_no_sooner() -> None:
    rules = Rules({"chat": rule(), "new": rule()}, turn_s=30)
    scheduler = Scheduler(rules)
    chat = busy(loaded_at=NOW - 25, queued=2, queued_since=NOW - 10)
    slots = {"chat": chat, "new": queued(28)}
    early = scheduler.decide(fleet(slots), NOW)
    assert not early.yielding
    assert early.waits["new"].reason == (
        "needs GPU: 1 and node n has 0 of 1 free; waits for 'chat' (1 request in flight, its turn ends in 5 s)"
    )
    over = scheduler.decide(fleet(slots), NOW + 5)
    assert over.yielding == {"chat"}
    assert over.targets == {}
    slots["chat"] = ready(loaded_at=NOW - 25, queued=4, queued_since=NOW - 10)
    gone = scheduler.decide(fleet(slots), NOW + 6)
    assert gone.yielding == {"chat"}
    assert gone.targets == {"chat": 0}


def test_who_waited_when_a_slot_was_loaded_is_served_first() -> None:
    chat = busy(loaded_at=NOW - 90, queued=1, queued_since=NOW - 100)
    assert not decide({"chat": chat, "new": queued(60)}).yielding


def test_nobody_yields_where_an_idle_slot_would_do() -> None:
    slots = {"chat": busy(), "idle": ready(), "new": queued(60)}
    decision = decide(slots, {name: rule(0.5) for name in slots})
    assert not decision.yielding
    assert decision.targets == {"idle": 0}


def test_a_wish_without_a_request_makes_nobody_yield() -> None:
    scheduler = Scheduler(Rules({"chat": rule(), "wish": rule()}))
    slots = {"chat": busy(), "wish": SlotSeen(wanted=True)}
    assert not scheduler.decide(fleet(slots), NOW).yielding
    assert not scheduler.decide(fleet(slots), NOW + 100).yielding


def test_an_overdue_slot_comes_before_one_of_higher_priority() -> None:
    nodes = {"n": NodeSeen({"GPU": 1.0})}
    slots = {"vip": queued(20, priority=9), "plain": queued(20.5), "late": queued(31)}
    assert decide(slots, nodes=nodes).targets == {"late": 1}
    del slots["late"]
    assert decide(slots, nodes=nodes).targets == {"vip": 1}


def test_small_slots_do_not_keep_a_big_one_out_for_ever() -> None:
    """`a` and `b` end their turns at different times; what `c` waits for is then promised to `big` already."""
    rules = {"a": rule(0.5), "b": rule(0.5), "c": rule(0.5), "big": rule(1)}
    slots = {
        "a": busy(loaded_at=NOW - 40),
        "b": busy(loaded_at=NOW - 10),
        "c": queued(35),
        "big": queued(36),
    }
    scheduler = Scheduler(Rules(rules, turn_s=30))
    decision = scheduler.decide(fleet(slots), NOW)
    assert not decision.yielding
    assert decision.waits["big"].blockers == ("a", "b")
    assert scheduler.decide(fleet(slots), NOW + 20).yielding == {"a", "b"}


def test_pinned_slots_come_first_and_in_the_order_of_the_configuration() -> None:
    slots = {"late": queued(50), "second": SlotSeen(pinned=True), "first": SlotSeen(pinned=True)}
    rules = {"first": rule(), "second": rule(), "late": rule()}
    decision = decide(slots, rules)
    assert decision.targets == {"first": 1}
    assert decision.waits["late"].hopeless
    assert decision.waits["second"].reason == (
        "needs GPU: 1 and node n has 0 of 1 free; its place is held by pinned slot 'first'"
    )


# Memory.


def test_below_the_floor_of_memory_idle_slots_go_one_at_a_time() -> None:
    rules = Rules({"a": rule(0.1), "b": rule(0.1), "c": rule(0.1)}, memory_floor_gib=4)
    scheduler = Scheduler(rules)
    short = {"n": NodeSeen({"GPU": 1.0}, available_gib=3.0)}
    slots = {"a": ready(load_s=1), "b": ready(load_s=2), "c": ready(last_used=NOW - 5)}
    assert scheduler.decide(fleet(slots, nodes=short), NOW).targets == {"a": 0}
    assert scheduler.decide(fleet(slots, {"a": 0}, short), NOW + 1).targets == {}
    del slots["a"]
    assert scheduler.decide(fleet(slots, nodes=short), NOW + 2).targets == {}
    assert scheduler.decide(fleet(slots, nodes=short), NOW + 3).targets == {"b": 0}
    enough = {"n": NodeSeen({"GPU": 1.0}, available_gib=4.0)}
    assert scheduler.decide(fleet(slots, nodes=enough), NOW + 4).targets == {}


# What is said.


@pytest.mark.parametrize(
    ("case", "claim", "nodes", "reason"),
    [
        ("too large", {"GPU": 3.0}, {"n": NodeSeen({"GPU": 2.0})}, "needs GPU: 3, the largest node has 2"),
        ("no such thing", {"npu": 1.0}, ONE_GPU, "needs npu: 1, which no node has"),
        ("no nodes", {"GPU": 1.0}, {}, "no node is there"),
        (
            "not on one node",
            {"GPU": 1.0, "npu": 1.0},
            {"x": NodeSeen({"GPU": 1.0}), "y": NodeSeen({"npu": 1.0})},
            "needs GPU: 1, npu: 1 on one node, and no node has all of that",
        ),
    ],
)
def test_no_node_could_ever_hold_it(
    case: str, claim: dict[str, float], nodes: dict[str, NodeSeen], reason: str
) -> None:
    decision = decide({"chat": queued()}, {"chat": SlotRule(claim)}, nodes=nodes)
    assert decision.targets == {}
    assert decision.waits["chat"].reason == reason, case
    assert decision.waits["chat"].hopeless


def test_the_same_fleet_gives_the_same_decision() -> None:
    rules = {name: rule(0.5, max_replicas=2, parallel_requests=1) for name in ("a", "b", "c", "d", "e")}
    scheduler = Scheduler(Rules(rules, turn_s=30))
    seen = fleet({"a": busy(in_flight=3), "b": busy(), "c": queued(40), "d": queued(2), "e": SlotSeen(wanted=True)})
    for at in (NOW, NOW + 3, NOW + 300):
        assert scheduler.decide(seen, at) == scheduler.decide(seen, at)


def test_of_very_many_that_wait_the_last_take_free_room_only() -> None:
    """On a node full of idle slots, beside one that is free."""
    many = CLEARED_FOR + 8
    idle = {f"idle{index}": ready("full") for index in range(many)}
    waiting = {f"waits{index:03}": queued(since_s=20 - index / 100) for index in range(many)}
    small = {name: SlotRule(claim={"GPU": 1}) for name in (*idle, *waiting)}
    nodes = {"full": NodeSeen({"GPU": float(many)}), "free": NodeSeen({"GPU": 2.0})}
    decision = decide({**idle, **waiting}, small, nodes=nodes)
    started = sorted(name for name in waiting if decision.targets.get(name))
    assert len(started) == 2, "what is free is taken"
    assert sum(decision.targets.get(name) == 0 for name in idle) == CLEARED_FOR - len(started)
    assert set(decision.waits) == set(waiting) - set(started), "all others are told why they wait"
