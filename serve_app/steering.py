"""On which nodes Serve's controller starts replicas: where the policy has planned them.

Left alone, Serve spreads replicas over whatever nodes have their claims free. It knows nothing of room that is kept for
a slot that waits, nor of the nodes that have a model's files already, nor that each node is to have one ingress. So two
of its own methods are wrapped, in the controller's process, where the policy runs: `_schedule_replica`, which takes a
node that it prefers, and `_add_upscale_replicas`, which takes a node for each new replica. Serve uses them so itself,
for replicas that it packs and for the routers that it puts beside its proxies. Whatever goes wrong here is logged, and
then Serve chooses, as it does for a replica that nobody has planned: one that it replaces after a crash.
Read in ray.serve._private.deployment_scheduler and deployment_state (Ray 2.60).
"""

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

logger = logging.getLogger("ray.serve")

PLAN_LASTS_S = 10.0
"""Serve acts within a look or two. A plan that it has not followed by then was for a start that was called off."""
NODE_LABEL = "ray.io/node-id"
"""Ray gives it to every node."""

Deployment = Hashable
"""Serve's `DeploymentID`."""
Places = tuple[str, ...]
"""A node for each stage of one replica: a single one for nearly all."""


class Steering:
    """What the policy has planned and Serve has not done yet. Pure: takes the clock."""

    def __init__(self) -> None:
        self._plans: dict[Deployment, deque[tuple[float, Places]]] = {}
        self._spread: dict[Deployment, Places] = {}

    def plan(self, deployment: Deployment, places: Places, now: float) -> None:
        """Its next replica is to start there."""
        self._plans.setdefault(deployment, deque()).append((now, places))

    def forget(self, deployment: Deployment) -> None:
        """Nothing more of it is to start."""
        self._plans.pop(deployment, None)

    def take(self, deployment: Deployment, now: float) -> Places:
        """Where the replica that Serve starts now is to go, once for each plan; empty: as Serve likes."""
        plans = self._plans.get(deployment, ())
        while plans:
            since, places = plans.popleft()
            if now - since < PLAN_LASTS_S:
                return places
        return ()

    def spread(self, deployment: Deployment, nodes: Iterable[str]) -> None:
        """It is to have one replica on each of these nodes, and none elsewhere."""
        self._spread[deployment] = tuple(nodes)

    def nodes_of(self, deployment: Deployment) -> Places:
        """Empty: as Serve likes."""
        return self._spread.get(deployment, ())

    def let_go(self) -> None:
        """Of everything: another configuration may not spread what this one has."""
        self._plans.clear()
        self._spread.clear()


STEERING: Final = Steering()
"""Of the controller in whose process this runs."""


def take_the_wheel(steering: Steering) -> None:
    """Wraps Serve's methods. May be called again."""
    scheduler: Any = import_module("ray.serve._private.deployment_scheduler").DeploymentScheduler
    state: Any = import_module("ray.serve._private.deployment_state").DeploymentState
    _wrap(scheduler, "_schedule_replica", lambda original: _steered(original, steering))
    _wrap(state, "_add_upscale_replicas", lambda original: _spread(original, steering))


def _wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, "__wrapped__"):
        setattr(owner, name, wrapper(original))


def _steered(original: Any, steering: Steering) -> Any:
    @functools.wraps(original)
    def schedule_replica(
        scheduler: Any,
        scheduling_request: Any,
        default_scheduling_strategy: str,
        target_node_id: str | None = None,
        target_labels: Any = None,
    ) -> bool:
        try:
            places = steering.take(scheduling_request.replica_id.deployment_id, time.monotonic())
            if scheduling_request.placement_group_bundles is None:
                target_node_id = places[0] if places else target_node_id
            elif len(places) == len(scheduling_request.placement_group_bundles):
                selectors = [{NODE_LABEL: node} for node in places]
                scheduling_request.placement_group_bundle_label_selector = selectors
        except Exception:
            logger.exception("hal0 could not steer a replica; Serve chooses its node")
        scheduled: bool = original(
            scheduler, scheduling_request, default_scheduling_strategy, target_node_id, target_labels
        )
        return scheduled

    return schedule_replica


def _spread(original: Any, steering: Steering) -> Any:
    @functools.wraps(original)
    def add_upscale_replicas(state: Any, to_add: int, target_node_ids: list[str] | None = None) -> Any:
        try:
            nodes = steering.nodes_of(state._id)
            if nodes:
                target_node_ids = uncovered(nodes, state)[:to_add]
                to_add = len(target_node_ids)
        except Exception:
            logger.exception("hal0 could not spread replicas; Serve chooses their nodes")
        # One that finds no node of its own waits: Serve asks again at each of its looks.
        return original(state, to_add, target_node_ids=target_node_ids) if to_add else []

    return add_upscale_replicas


def uncovered(nodes: Sequence[str], state: Any) -> list[str]:
    """Those of `nodes` that live and have no replica that is to stay: while a new version rolls out, each gets its new
    replica beside the old one. `state` is Serve's `DeploymentState`."""
    covered = covered_nodes(state)
    if None in covered:
        return []  # One started before anything was planned: where it is will be known in a moment.
    alive = state._cluster_node_info_cache.get_active_node_ids()
    return [node for node in nodes if node in alive and node not in covered]


def covered_nodes(state: Any) -> set[str | None]:
    states: Any = import_module("ray.serve._private.common").ReplicaState
    version = state._target_state.version
    replicas = state._replicas.get(states=[states.STARTING, states.UPDATING, states.RUNNING])
    staying = [replica for replica in replicas if not replica.version.requires_actor_restart(version)]
    return {replica.target_node_id or replica.actor_node_id for replica in staying}


def steer(changes: Mapping[Deployment, Places], steering: Steering) -> None:
    """The deployments whose numbers the policy has just changed: where the replica that comes is to start; empty for
    those that are to have fewer."""
    now = time.monotonic()
    for deployment, places in changes.items():
        if places:
            steering.plan(deployment, places, now)
        else:
            steering.forget(deployment)
