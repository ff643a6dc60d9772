"""On which nodes a slot is placed: where its files are, and all of its stages or none."""

from collections.abc import Mapping
from typing import Any

from serve_app.fleet import Decision, Fleet, NodeSeen, Phase, ReplicaSeen, Rules, SlotRule, SlotSeen
from serve_app.policy.books import PULL_S
from serve_app.policy.scheduling import Scheduler

NOW = 1000.0
Nodes = Mapping[str, NodeSeen]


def nodes(**gpus: float) -> Nodes:
    return {name: NodeSeen({"GPU": count}) for name, count in gpus.items()}


def rule(gpu: float = 1, stages: int = 1, **given: Any) -> SlotRule:
    return SlotRule({"GPU": gpu}, stages, **given)


def ready(node: str, *further: str, **given: Any) -> SlotSeen:
    known = {"loaded_at": NOW - 100, "last_used": NOW - 50, "load_s": 5}
    return SlotSeen((ReplicaSeen(node, Phase.READY, further),), **{**known, **given})


def queued(*homes: str, since_s: float = 1) -> SlotSeen:
    return SlotSeen(queued=1, queued_since=NOW - since_s, homes=frozenset(homes))


def fleet(slots: Mapping[str, SlotSeen], where: Nodes, **targets: int) -> Fleet:
    there = {name: sum(one.phase is not Phase.LEAVING for one in seen.replicas) for name, seen in slots.items()}
    return Fleet(slots, where, {**there, **targets})


def decide(slots: Mapping[str, SlotSeen], where: Nodes, **rules: SlotRule) -> Decision:
    known = {name: rules.get(name, rule()) for name in slots}
    return Scheduler(Rules(known)).decide(fleet(slots, where), NOW)


# Homes.


def test_free_room_where_the_files_are_comes_first() -> None:
    where = nodes(a=1, b=1, c=1)
    assert decide({"chat": queued()}, where).places == {"chat": ("a",)}
    assert decide({"chat": queued("b", "gone")}, where).places == {"chat": ("b",)}
    assert decide({"chat": queued("gone")}, where).places == {"chat": ("a",)}


def test_free_room_elsewhere_is_better_than_none() -> None:
    where = nodes(a=1, b=1)
    assert decide({"chat": queued("a"), "there": ready("a")}, where).places == {"chat": ("b",)}


def test_room_that_becomes_free_is_awaited_where_the_files_are() -> None:
    slots = {"chat": queued("b"), "old": ready("a"), "older": ready("b")}
    leaving = {name: SlotSeen((ReplicaSeen(node, Phase.LEAVING),)) for name, node in (("old", "a"), ("older", "b"))}
    decision = Scheduler(Rules({name: rule() for name in slots})).decide(fleet(slots | leaving, nodes(a=1, b=1)), NOW)
    assert decision.waits["chat"].blockers == ("older",)


def test_a_slot_at_a_home_gives_way_rather_than_one_elsewhere_that_costs_about_the_same() -> None:
    slots = {"chat": queued("b"), "there": ready("a", load_s=5), "here": ready("b", load_s=50)}
    assert decide(slots, nodes(a=1, b=1)).targets == {"here": 0}
    slots["chat"] = queued()
    assert decide(slots, nodes(a=1, b=1)).targets == {"there": 0}


def test_a_pull_is_no_reason_to_give_up_what_costs_more_to_load() -> None:
    lost = ready("b", load_s=(PULL_S + 10) * 51)
    slots = {"chat": queued("b"), "there": ready("a"), "here": lost}
    assert decide(slots, nodes(a=1, b=1)).targets == {"there": 0}
    slots["here"] = ready("b", in_flight=1)
    assert decide(slots, nodes(a=1, b=1)).targets == {"there": 0}, "nor to make a busy slot give way"


# Stages.


def test_all_stages_start_together_on_as_few_nodes_as_can_be() -> None:
    assert decide({"big": queued()}, nodes(a=1, b=2, c=1), big=rule(stages=2)).places == {"big": ("b", "b")}
    assert decide({"big": queued()}, nodes(a=1, b=2, c=1), big=rule(stages=4)).places == {"big": ("b", "b", "a", "c")}
    assert decide({"big": queued("a", "c")}, nodes(a=1, b=2, c=1), big=rule(stages=2)).places == {"big": ("a", "c")}


def test_no_stage_starts_before_all_have_room() -> None:
    slots = {"big": queued(), "busy": ready("b", in_flight=1)}
    decision = decide(slots, nodes(a=1, b=1), big=rule(stages=2))
    assert not decision.targets and not decision.places
    assert decision.waits["big"].blockers == ("busy",)
    assert not decision.waits["big"].hopeless


def test_each_stage_holds_its_node() -> None:
    big = ready("a", "b", in_flight=1)
    where = nodes(a=1, b=1, c=1)
    decision = decide({"big": big, "one": queued(since_s=9), "two": queued()}, where, big=rule(stages=2))
    assert decision.places == {"one": ("c",)}
    assert decision.waits["two"].blockers in (("big",), ("one",))


def test_a_slot_that_starts_holds_all_its_nodes_before_it_is_seen() -> None:
    scheduler = Scheduler(Rules({"big": rule(stages=2), "one": rule()}))
    where = nodes(a=1, b=1)
    assert scheduler.decide(fleet({"big": queued()}, where), NOW).places == {"big": ("a", "b")}
    later = fleet({"big": queued(), "one": queued()}, where, big=1)
    assert scheduler.decide(later, NOW + 100).targets == {}, "Ray is bound to them, however long it takes"


def test_idle_slots_give_way_on_every_node_that_a_stage_needs_and_no_others() -> None:
    slots = {
        "big": queued(),
        **{f"idle-{node}": ready(node, load_s=cost) for node, cost in zip("abc", (9, 1, 2), strict=True)},
    }
    decision = decide(slots, nodes(a=1, b=1, c=1), big=rule(stages=2))
    assert decision.targets == {"idle-b": 0, "idle-c": 0}
    assert set(decision.waits["big"].blockers) == {"idle-b", "idle-c"}


def test_what_made_room_for_one_stage_stays_if_it_is_not_needed_beside_the_next() -> None:
    """`small` is enough for the first stage; `large` is for both."""
    slots = {"big": queued(), "small": ready("a", load_s=1), "large": ready("a", load_s=2)}
    decision = decide(slots, nodes(a=3), big=rule(stages=2), small=rule(1), large=rule(2))
    assert decision.targets == {"large": 0}


def test_a_slot_on_several_nodes_gives_way_as_a_whole() -> None:
    slots = {"big": ready("a", "b"), "one": queued(), "two": queued()}
    decision = decide(slots, nodes(a=1, b=1), big=rule(stages=2))
    assert decision.targets == {"big": 0}
    assert [decision.waits[name].blockers for name in ("one", "two")] == [("big",), ("big",)]


def test_more_stages_than_all_nodes_hold() -> None:
    wait = decide({"big": queued()}, nodes(a=1, b=1), big=rule(stages=3)).waits["big"]
    assert wait.hopeless
    assert wait.reason == "needs GPU: 1 for each of 3 stages, and all nodes together have that 2 times"


def test_a_start_is_called_off_when_one_of_its_nodes_goes() -> None:
    scheduler = Scheduler(Rules({"big": rule(stages=2)}))
    assert scheduler.decide(fleet({"big": queued()}, nodes(a=1, b=1, c=1)), NOW).places == {"big": ("a", "b")}
    where = nodes(a=1, c=1)
    assert scheduler.decide(fleet({"big": queued()}, where, big=1), NOW + 1).targets == {"big": 0}
    assert scheduler.decide(fleet({"big": queued()}, where), NOW + 2).places == {"big": ("a", "c")}


def test_a_pinned_slot_keeps_all_its_nodes() -> None:
    slots = {"big": ready("a", "b", pinned=True), "one": queued()}
    wait = decide(slots, nodes(a=1, b=1), big=rule(stages=2)).waits["one"]
    assert wait.hopeless and wait.blockers == ("big",)
