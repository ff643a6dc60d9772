"""Serve's policy: what the configuration owes the slots, what Serve is told, and what it is not."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serve_app import autoscaling, bulletin, nodes, steering
from serve_app.autoscaling import SlotPolicy, rules_for
from serve_app.bulletin import Sightings, Verdict
from serve_app.config import parse_config
from serve_app.fleet import Decision, Fleet, Group, NodeSeen, Rules, SlotSeen, Wait
from serve_app.placement import GIB
from serve_app.policy import scheduling
from serve_app.policy.ingresses import LOST_FOR_S
from serve_app.steering import Steering

SLOT = {"provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"]}
CHAT, EMBED = SLOT | {"name": "chat"}, SLOT | {"name": "embed"}
CONFIG = {"slots": [CHAT, EMBED]}
SIGHTINGS = Sightings("b", 1, {"chat": SlotSeen(queued=1)}, {"n1": 3.5})


def rules(*slots: dict[str, Any], nodes: tuple[dict[str, float], ...] = (), **scheduling: Any) -> Rules:
    return rules_for(parse_config({"slots": list(slots), "scheduling": scheduling}), list(nodes))


# What is owed.


def test_a_slot_is_owed_what_its_configuration_says() -> None:
    given = {
        "min_replicas": 1,
        "max_replicas": 3,
        "parallel_requests": 4,
        "idle_after_s": 5,
        "unload_after_s": None,
        "priority": 7,
    }
    rule = rules(CHAT | given | {"resources": {"cpu": 2, "memory_gib": 1}, "device": "cpu"}).slots["chat"]
    assert {name: getattr(rule, name) for name in given} == given
    assert rule.claim == {"CPU": 2.0, "memory": float(GIB)}


def test_the_nodes_decide_what_an_automatic_device_claims() -> None:
    assert rules(CHAT).slots["chat"].claim == {}
    [claim] = rules(CHAT | {"device": "vulkan"}).slots.values()
    assert rules(CHAT, nodes=({"CPU": 2.0, "vulkan": 1.0},)).slots["chat"].claim == claim.claim != {}


def test_groups_and_times() -> None:
    found = rules(
        CHAT,
        EMBED,
        turn_s=12,
        memory_floor_gib=2,
        groups=[{"slots": ["chat", "embed"], "resident": one} for one in ("one", "all")],
    )
    assert (found.turn_s, found.memory_floor_gib) == (12, 2)
    both = frozenset({"chat", "embed"})
    assert found.groups == (Group(both, exclusive=True), Group(both, exclusive=False))


# What Serve is told.


@dataclass(frozen=True)
class Deployment:
    name: str
    app_name: str = "hal0"


@dataclass
class Context:
    target_num_replicas: int
    app_name: str = "hal0"


@dataclass
class World:
    """What the policy sees, and what it did."""

    sightings: Sightings | None = SIGHTINGS
    decision: Decision | Exception = field(default_factory=lambda: Decision({}, {}, frozenset()))
    nodes: dict[str, NodeSeen] = field(default_factory=lambda: {"n1": NodeSeen({"CPU": 2.0}), "n2": NodeSeen({})})
    now: float = 1000.0
    posted: list[Verdict] = field(default_factory=list)
    fleets: list[Fleet] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    looks: int = 0
    steering: Steering = field(default_factory=Steering)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Bulletin:
        def __init__(self, application: str) -> None:
            world.applications.append(application)

        def sightings(self) -> Sightings | None:
            return world.sightings

        def post_verdict(self, verdict: Verdict) -> None:
            world.posted.append(verdict)

    class Scheduler:
        def __init__(self, rules: Rules) -> None:
            assert set(rules.slots) == {"chat", "embed"}

        def decide(self, fleet: Fleet, now: float) -> Decision:
            world.fleets.append(fleet)
            if isinstance(world.decision, Exception):
                raise world.decision
            return world.decision

    def alive_nodes() -> dict[str, NodeSeen]:
        world.looks += 1
        return world.nodes

    monkeypatch.setattr(bulletin, "Bulletin", Bulletin)
    monkeypatch.setattr(scheduling, "Scheduler", Scheduler)
    monkeypatch.setattr(nodes, "alive_nodes", alive_nodes)
    monkeypatch.setattr(steering, "STEERING", world.steering)
    monkeypatch.setattr(steering, "take_the_wheel", lambda _: None)
    monkeypatch.setattr("time.monotonic", lambda: world.now)
    return world


def asked(policy: SlotPolicy, **targets: int) -> dict[str, int]:
    contexts: Any = {Deployment(name): Context(target) for name, target in targets.items()}
    answer, state = policy(contexts)
    assert state == {}
    assert set(answer) <= set(contexts), "by Serve's own ids"
    return {deployment.name: target for deployment, target in answer.items()}


def test_a_changed_number_is_told_and_nothing_else(world: World) -> None:
    """A slot that Serve is told of with its own number, and that has a call waiting, would be given a replica."""
    world.decision = Decision({"chat": 1, "embed": 0, "of another configuration": 5}, {}, frozenset())
    assert asked(SlotPolicy(CONFIG), chat=0, embed=0) == {"chat": 1}
    assert asked(SlotPolicy(CONFIG), chat=1, embed=2) == {"embed": 0}
    assert asked(SlotPolicy(CONFIG), chat=1, embed=0) == {}


def test_what_is_known_is_handed_to_the_scheduler(world: World) -> None:
    policy = SlotPolicy(CONFIG)
    asked(policy, chat=0, embed=2)
    assert world.applications == ["hal0"]
    [fleet] = world.fleets
    assert fleet.slots == SIGHTINGS.slots and fleet.targets == {"chat": 0, "embed": 2}
    assert fleet.nodes == {"n1": NodeSeen({"CPU": 2.0}, 3.5), "n2": NodeSeen({}, None)}


def test_without_word_from_the_board_every_number_stays(world: World) -> None:
    world.sightings = None
    assert asked(SlotPolicy(CONFIG), chat=1, embed=0) == {}
    assert world.fleets == [] and world.posted == []


def test_the_board_is_told_who_waits_and_only_when_that_changes(world: World) -> None:
    policy = SlotPolicy(CONFIG)
    waits = {"chat": Wait("no room", ("embed",))}
    for decision in (
        Decision({}, waits, frozenset()),
        Decision({"embed": 0}, waits, frozenset()),
        Decision({}, waits, frozenset({"embed"})),
    ):
        world.decision = decision
        asked(policy, chat=0, embed=1)
    assert world.posted == [Verdict(waits, frozenset()), Verdict(waits, frozenset({"embed"}))]


def test_serve_is_told_where_a_replica_is_to_start(world: World) -> None:
    world.decision = Decision({"chat": 1, "embed": 0}, {}, frozenset(), {"chat": ("n2",)})
    policy = SlotPolicy(CONFIG)
    asked(policy, chat=0, embed=1)
    assert world.steering.take(Deployment("chat"), world.now) == ("n2",)
    assert world.steering.take(Deployment("embed"), world.now) == ()


def test_with_one_node_there_is_nothing_to_steer(world: World) -> None:
    world.nodes = {"n1": NodeSeen({"CPU": 2.0})}
    world.decision = Decision({"chat": 1}, {}, frozenset(), {"chat": ("n1",)})
    asked(SlotPolicy(CONFIG), chat=0)
    assert world.steering.take(Deployment("chat"), world.now) == ()


def test_the_ingress_follows_the_nodes_whatever_the_board_says(world: World) -> None:
    world.sightings = None
    policy = SlotPolicy(CONFIG)
    assert asked(policy, ingress=1, chat=0) == {"ingress": 2}
    assert world.steering.nodes_of(Deployment("ingress")) == ("n1", "n2")
    assert asked(policy, ingress=2, chat=0) == {}
    world.nodes = {"n1": NodeSeen({})}
    world.now += autoscaling.NODES_FRESH_S
    assert asked(policy, ingress=2) == {}, "Serve may not know yet which one is gone"
    assert world.steering.nodes_of(Deployment("ingress")) == ("n1",)
    world.now += LOST_FOR_S
    assert asked(policy, ingress=2) == {"ingress": 1}


def test_the_ingress_is_no_slot_to_the_scheduler(world: World) -> None:
    asked(SlotPolicy(CONFIG), ingress=2, chat=0)
    assert world.fleets[0].targets == {"chat": 0}


def test_an_ingress_may_be_kept_to_nodes_that_declare_a_resource(world: World) -> None:
    world.nodes = {"n1": NodeSeen({"web": 1.0}), "n2": NodeSeen({})}
    asked(SlotPolicy(CONFIG | {"ingress": {"resource": "web", "replicas": "every_node"}}), ingress=1)
    assert world.steering.nodes_of(Deployment("ingress")) == ("n1",)


def test_a_new_configuration_begins_without_old_plans(world: World) -> None:
    world.steering.spread(Deployment("ingress"), ("n1", "n2"))
    world.steering.plan(Deployment("chat"), ("n1",), world.now)
    asked(SlotPolicy(CONFIG), chat=0)
    assert world.steering.nodes_of(Deployment("ingress")) == ()
    assert world.steering.take(Deployment("chat"), world.now) == ()


def test_nodes_are_looked_at_now_and_then(world: World) -> None:
    policy = SlotPolicy(CONFIG)
    asked(policy, chat=0)
    looks = world.looks
    asked(policy, chat=0)
    assert world.looks == looks
    world.now += autoscaling.NODES_FRESH_S
    world.nodes = {"n3": NodeSeen({"CPU": 8.0})}
    asked(policy, chat=0)
    assert world.looks == looks + 1 and set(world.fleets[-1].nodes) == {"n3"}


def test_a_policy_that_fails_keeps_every_number_and_complains_now_and_then(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = SlotPolicy(CONFIG)
    world.decision = ZeroDivisionError("a bug")
    assert asked(policy, chat=1) == {} and asked(policy, chat=1) == {}
    assert len(caplog.records) == 1 and caplog.records[0].exc_info is not None
    world.now += autoscaling.COMPLAIN_S
    asked(policy, chat=1)
    assert len(caplog.records) == 2
    world.decision = Decision({"chat": 0}, {}, frozenset())
    assert asked(policy, chat=1) == {"chat": 0}, "and goes on"


def test_a_policy_crosses_to_the_controller_before_it_has_looked_at_anything() -> None:
    policy = pickle.loads(pickle.dumps(SlotPolicy(CONFIG)))
    assert isinstance(policy, SlotPolicy)


def test_it_brings_nothing_along_when_it_is_copied_by_value() -> None:
    """Module globals of the class are copied, too: what it needs it imports where it needs it."""
    source = Path(autoscaling.__file__).read_text()
    top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert top == ["import time", "from collections.abc import Mapping", "from typing import TYPE_CHECKING, Any"]
