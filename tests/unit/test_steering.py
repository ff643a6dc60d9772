"""Where Serve starts replicas: on the planned nodes, as long as there is a plan, and by Serve's own classes."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.steering import NODE_LABEL, PLAN_LASTS_S, Steering, steer, take_the_wheel

serve_common: Any = import_module("ray.serve._private.common")
scheduling: Any = import_module("ray.serve._private.deployment_scheduler")
states: Any = import_module("ray.serve._private.deployment_state")

CHAT = serve_common.DeploymentID("chat", "hal0")
INGRESS = serve_common.DeploymentID("ingress", "hal0")
STATE = serve_common.ReplicaState
SOME_NODE = "ab" * 28
"""As Ray names nodes."""


def test_a_plan_is_followed_once() -> None:
    steering = Steering()
    steering.plan(CHAT, ("n1",), 0.0)
    steering.plan(CHAT, ("n2",), 1.0)
    assert [steering.take(CHAT, 2.0) for _ in range(3)] == [("n1",), ("n2",), ()]
    assert steering.take(INGRESS, 2.0) == ()


def test_a_plan_that_was_not_followed_is_forgotten() -> None:
    steering = Steering()
    steering.plan(CHAT, ("n1",), 0.0)
    steering.plan(CHAT, ("n2",), PLAN_LASTS_S)
    assert steering.take(CHAT, PLAN_LASTS_S) == ("n2",)
    steering.plan(CHAT, ("n3",), 20.0)
    steering.forget(CHAT)
    assert steering.take(CHAT, 20.0) == ()


def test_a_decision_plans_what_comes_and_forgets_what_goes() -> None:
    steering = Steering()
    steer({CHAT: ("n1",)}, steering)
    steer({INGRESS: ()}, steering)
    assert steering._plans.keys() == {CHAT}
    steer({CHAT: ()}, steering)
    assert not steering._plans


# Serve's own scheduler.


class Cache:
    def __init__(self, *nodes: str) -> None:
        self.nodes = set(nodes)

    def get_active_node_ids(self) -> set[str]:
        return self.nodes


@dataclass
class Actor:
    """What Serve starts: it notes where."""

    strategies: list[Any] = field(default_factory=list)

    def options(self, scheduling_strategy: Any, **_: Any) -> "Actor":
        self.strategies.append(scheduling_strategy)
        return self

    def remote(self) -> "Actor":
        return self


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steering]:
    """Serve's classes are wrapped for the time of a test."""
    for owner, name in ((scheduling.DeploymentScheduler, "_schedule_replica"), WRAPPED_STATE):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    steering = Steering()
    take_the_wheel(steering)
    yield steering


WRAPPED_STATE = (states.DeploymentState, "_add_upscale_replicas")


@dataclass
class Start:
    """One replica that Serve's scheduler starts."""

    bundles: list[dict[str, float]] | None = None
    actor: Actor = field(default_factory=Actor)
    groups: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = scheduling.DeploymentScheduler(Cache("n1", "n2"), "n1", self._group)
        self.scheduler.on_deployment_created(CHAT, scheduling.SpreadDeploymentSchedulingPolicy())

    def _group(self, request: Any) -> Any:
        self.groups.append(request)
        return "a placement group"

    def __call__(self) -> Any:
        """The scheduling strategy of the actor."""
        replica = serve_common.ReplicaID(f"r{len(self.actor.strategies)}", CHAT)
        request = scheduling.ReplicaSchedulingRequest(
            replica_id=replica,
            actor_def=self.actor,
            actor_resources={},
            actor_options={"name": "chat"},
            actor_init_args=(),
            on_scheduled=lambda *_, **__: None,
            placement_group_bundles=self.bundles,
        )
        self.scheduler.schedule({CHAT: [request]}, {})
        assert request.status is scheduling.ReplicaSchedulingRequestStatus.SUCCEEDED
        return self.actor.strategies[-1]


def test_serve_starts_a_replica_where_it_was_planned_and_the_next_one_where_it_likes(wheel: Steering) -> None:
    start = Start()
    steer({CHAT: (SOME_NODE,)}, wheel)
    planned = start()
    assert (planned.node_id, planned.soft, planned._spill_on_unavailable) == (SOME_NODE, True, True)
    assert start() == "SPREAD"


def test_the_stages_of_a_replica_start_each_on_its_node(wheel: Steering) -> None:
    start = Start([{"GPU": 1.0}] * 3)
    steer({CHAT: ("n1", "n1", "n2")}, wheel)
    start()
    [group] = start.groups
    assert group.target_node_id is None and group.strategy == "PACK"
    assert group.bundle_label_selector == [{NODE_LABEL: node} for node in ("n1", "n1", "n2")]
    start()
    assert start.groups[1].bundle_label_selector is None


def test_a_plan_of_another_size_is_not_followed(wheel: Steering) -> None:
    start = Start([{"GPU": 1.0}] * 2)
    steer({CHAT: ("n1",)}, wheel)
    start()
    assert start.groups[0].bundle_label_selector is None


def test_serve_goes_on_when_steering_fails(
    wheel: Steering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(wheel, "take", fail)
    assert Start()() == "SPREAD"
    monkeypatch.setattr(wheel, "nodes_of", fail)
    assert len(World().add(2)) == 2
    assert "Serve chooses" in caplog.text


def test_the_wheel_is_taken_once(wheel: Steering) -> None:
    before = scheduling.DeploymentScheduler._schedule_replica, states.DeploymentState._add_upscale_replicas
    take_the_wheel(wheel)
    assert before == (scheduling.DeploymentScheduler._schedule_replica, states.DeploymentState._add_upscale_replicas)


# One on every node.


@dataclass(frozen=True)
class Version:
    name: str

    def requires_actor_restart(self, other: "Version") -> bool:
        return self != other


@dataclass
class Replica:
    """As far as Serve's `DeploymentReplica` is looked at."""

    version: Version
    target_node_id: str | None = None
    actor_node_id: str | None = None
    state: Any = STATE.RUNNING


class World:
    """Serve's `_add_upscale_replicas`, as it is called, with the replicas that there are."""

    def __init__(self, *replicas: Replica, alive: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.replicas = list(replicas)
        self.state: Any = SimpleNamespace(
            _id=INGRESS,
            _target_state=SimpleNamespace(version=Version("new"), info=None),
            _cluster_node_info_cache=Cache(*alive),
            _replicas=SimpleNamespace(get=self._get, add=lambda *_: None),
            _deployed_info=None,
            _rank_manager=SimpleNamespace(assign_rank=None),
        )

    def _get(self, states: list[Any]) -> list[Replica]:
        return [one for one in self.replicas if one.state in states]

    def add(self, count: int) -> list[Any]:
        """The node of each that Serve starts; None: any."""
        replica: Any = SimpleNamespace(start=lambda *_, target_node_id, **__: target_node_id)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(states, "DeploymentReplica", lambda *_: replica)
            return list(states.DeploymentState._add_upscale_replicas(self.state, count))


NEW, OLD = Version("new"), Version("old")


def test_each_node_gets_one(wheel: Steering) -> None:
    assert World().add(2) == [None, None], "nothing was said of them"
    wheel.spread(INGRESS, ("a", "b", "c"))
    assert World().add(3) == ["a", "b", "c"]
    assert World().add(1) == ["a"]
    assert World(Replica(NEW, "a"), Replica(NEW, None, "c")).add(1) == ["b"]
    starting = Replica(NEW, "a", state=STATE.STARTING)
    assert World(starting).add(2) == ["b", "c"]


def test_a_new_version_comes_beside_the_old_one(wheel: Steering) -> None:
    wheel.spread(INGRESS, ("a", "b", "c"))
    old = [Replica(OLD, node) for node in "abc"]
    assert World(*old).add(3) == ["a", "b", "c"]
    assert World(*old, Replica(NEW, "b")).add(2) == ["a", "c"]
    leaving = Replica(NEW, "a", state=STATE.STOPPING)
    assert World(leaving).add(1) == ["a"]


def test_one_too_many_waits(wheel: Steering) -> None:
    """A node went, and Serve replaces its replica before the policy wants one fewer."""
    wheel.spread(INGRESS, ("a", "b", "c"))
    there = Replica(NEW, "a"), Replica(NEW, "b")
    assert World(*there, alive=("a", "b")).add(1) == []
    assert World(*there, alive=("a", "b", "c")).add(1) == ["c"], "it came back"


def test_nothing_starts_before_it_is_known_where_the_first_one_is(wheel: Steering) -> None:
    wheel.spread(INGRESS, ("a", "b", "c"))
    assert World(Replica(NEW, state=STATE.STARTING)).add(2) == []
    assert World(Replica(NEW, None, "b", state=STATE.STARTING)).add(2) == ["a", "c"]


def test_another_configuration_spreads_nothing(wheel: Steering) -> None:
    wheel.spread(INGRESS, ("a", "b", "c"))
    wheel.plan(CHAT, ("a",), 0.0)
    wheel.let_go()
    assert World().add(2) == [None, None] and wheel.take(CHAT, 0.0) == ()


# What is leant on.


def test_serves_methods_are_those_that_are_wrapped() -> None:
    assert list(inspect.signature(scheduling.DeploymentScheduler._schedule_replica).parameters) == [
        "self",
        "scheduling_request",
        "default_scheduling_strategy",
        "target_node_id",
        "target_labels",
    ]
    assert list(inspect.signature(states.DeploymentState._add_upscale_replicas).parameters) == [
        "self",
        "to_add",
        "target_node_ids",
    ]


def test_serves_objects_have_what_is_read() -> None:
    kept = states.DeploymentState.__init__.__code__.co_names
    assert {"_id", "_target_state", "_cluster_node_info_cache", "_replicas"} <= set(kept)
    assert {"target_node_id", "actor_node_id", "version"} <= set(dir(states.DeploymentReplica))
    version: Any = import_module("ray.serve._private.version").DeploymentVersion
    assert hasattr(version, "requires_actor_restart")
    cache: Any = import_module("ray.serve._private.cluster_node_info_cache").ClusterNodeInfoCache
    assert hasattr(cache, "get_active_node_ids")
    request = scheduling.ReplicaSchedulingRequest.__dataclass_fields__
    assert {"replica_id", "placement_group_bundles", "placement_group_bundle_label_selector"} <= set(request)
