"""Serve's application-level autoscaling policy: the pure `Scheduler` decides, this hands it what is known.

Serve's own part is small. It gives a slot without replicas and with a queued call a replica the moment that the policy
names the slot, whatever number it says; a slot that the policy leaves out keeps its number. So a slot that must wait
for room is left out.
API: https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve._private.common import DeploymentID
    from ray.serve.config import AutoscalingContext

    from serve_app.config import ServingConfig
    from serve_app.fleet import NodeSeen, Rules, SlotRule

    Contexts = Mapping[DeploymentID, AutoscalingContext]

INGRESS = "ingress"
NODES_FRESH_S = 2.0
COMPLAIN_S = 10.0


class SlotPolicy:
    """`config` is what stands under `args`. Ray copies this class by value into its controller: hence the imports."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from serve_app.config import parse_config

        self._config = parse_config(config)
        self._scheduler: Any = None
        self._bulletin: Any = None
        self._pace: Any = None
        self._posted: Any = None
        self._ingress_count: Any = None
        self._nodes: dict[str, NodeSeen] = {}
        self._nodes_at = -NODES_FRESH_S
        self._complained_at = -COMPLAIN_S

    def __call__(self, contexts: "Contexts") -> "tuple[dict[DeploymentID, int], dict[DeploymentID, dict[str, Any]]]":
        """New numbers of replicas. An exception would stop all that Serve does for the application."""
        import logging

        try:
            return self._changes(contexts), {}
        except Exception:
            if time.monotonic() - self._complained_at >= COMPLAIN_S:
                logging.getLogger("ray.serve").exception("hal0's policy failed; it keeps all numbers of replicas")
                self._complained_at = time.monotonic()
            return {}, {}

    def _changes(self, contexts: "Contexts") -> "dict[DeploymentID, int]":
        self._set_up(next(iter(contexts)).app_name)
        slots = {deployment: context for deployment, context in contexts.items() if deployment.name != INGRESS}
        return self._ingress_changes(contexts) | self._slot_changes(slots)

    def _ingress_changes(self, contexts: "Contexts") -> "dict[DeploymentID, int]":
        """Where every node is to have an ingress, that number follows the nodes; else Serve has it fixed."""
        from serve_app.policy.ingresses import serving_nodes
        from serve_app.steering import STEERING

        found = ((deployment, context) for deployment, context in contexts.items() if deployment.name == INGRESS)
        changes = {}
        for deployment, context in found:
            nodes = serving_nodes(self._living_nodes(), self._config.ingress.resource)
            STEERING.spread(deployment, nodes)
            before = context.target_num_replicas
            target = self._ingress_count.target(len(nodes), before, time.monotonic())
            if target != before:
                changes[deployment] = target
        return changes

    def _slot_changes(self, contexts: "Contexts") -> "dict[DeploymentID, int]":
        from serve_app.bulletin import Verdict
        from serve_app.fleet import Fleet
        from serve_app.pace import set_pause
        from serve_app.steering import STEERING, steer

        sightings = self._bulletin.sightings()
        if sightings is None:
            return {}
        fleet = Fleet(
            slots=sightings.slots,
            nodes=self._nodes_seen(sightings.available_gib),
            targets={deployment.name: context.target_num_replicas for deployment, context in contexts.items()},
        )
        set_pause(self._pace.pause_s(fleet, time.monotonic()))
        decision = self._scheduler.decide(fleet, time.time())
        verdict = Verdict(decision.waits, decision.yielding)
        if verdict != self._posted:
            self._bulletin.post_verdict(verdict)
            self._posted = verdict
        # A slot whose number does not change is left out, too: Serve's averages still tell of calls that are over.
        changes = {
            deployment: decision.targets[deployment.name]
            for deployment, context in contexts.items()
            if decision.targets.get(deployment.name, context.target_num_replicas) != context.target_num_replicas
        }
        if len(fleet.nodes) > 1:
            steer({deployment: decision.places.get(deployment.name, ()) for deployment in changes}, STEERING)
        return changes

    def _set_up(self, application: str) -> None:
        """Not in the constructor, which also runs where there is no cluster."""
        from serve_app.bulletin import Bulletin
        from serve_app.nodes import alive_nodes
        from serve_app.pace import Pace, usual_pause_s
        from serve_app.policy.ingresses import IngressCount
        from serve_app.policy.scheduling import Scheduler
        from serve_app.steering import STEERING, take_the_wheel
        from serve_app.unchanged import leave_unchanged_alone

        if self._scheduler is None:
            take_the_wheel(STEERING)
            leave_unchanged_alone()
            STEERING.let_go()
            self._ingress_count = IngressCount()
            self._pace = Pace(usual_pause_s())
            self._scheduler = Scheduler(rules_for(self._config, [node.total for node in alive_nodes().values()]))
            self._bulletin = Bulletin(application)

    def _living_nodes(self) -> "dict[str, NodeSeen]":
        from serve_app.nodes import alive_nodes

        if time.monotonic() - self._nodes_at >= NODES_FRESH_S:
            self._nodes, self._nodes_at = alive_nodes(), time.monotonic()
        return self._nodes

    def _nodes_seen(self, available_gib: Mapping[str, float]) -> "dict[str, NodeSeen]":
        from serve_app.fleet import NodeSeen

        return {name: NodeSeen(node.total, available_gib.get(name)) for name, node in self._living_nodes().items()}


def rules_for(config: "ServingConfig", nodes: list[Mapping[str, float]]) -> "Rules":
    """What the configuration owes each slot; `nodes` decide what `device: auto` means."""
    from providers.registry import provider
    from serve_app.fleet import Group, Rules
    from serve_app.placement import claim_of, resolve_device

    slots: dict[str, SlotRule] = {}
    for slot in config.slots:
        device = resolve_device(slot, provider(slot.provider).devices, nodes)
        slots[slot.name] = rule_of(slot, claim_of(slot, device).as_resources())
    groups = tuple(Group(frozenset(group.slots), group.resident == "one") for group in config.scheduling.groups)
    return Rules(slots, groups, config.scheduling.turn_s, config.scheduling.memory_floor_gib)


def rule_of(slot: Any, claim: Mapping[str, float]) -> "SlotRule":
    from serve_app.fleet import SlotRule

    return SlotRule(
        claim=claim,
        stages=slot.stages,
        min_replicas=slot.min_replicas,
        max_replicas=slot.max_replicas,
        parallel_requests=slot.parallel_requests,
        idle_after_s=slot.idle_after_s,
        unload_after_s=slot.unload_after_s,
        priority=slot.priority,
    )
