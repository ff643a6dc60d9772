"""The autoscaling policy: how many replicas each slot should have. Pure; Serve calls it for all slots at once.

Serve's own part: a slot without replicas and with a queued request gets one at once. Everything else is decided here,
from the leases that ingresses hold and the quiet time that replicas report (`record_autoscaling_stats`).
API: https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve._private.common import DeploymentID
    from ray.serve.config import AutoscalingContext

QUIET_METRIC = "quiet_s"


@dataclass(frozen=True, slots=True)
class SlotRule:
    """What the policy needs of a slot's configuration."""

    min_replicas: int
    max_replicas: int
    unload_after_s: float | None
    leases_per_replica: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What is known of a slot now. `quiet_s`: the quiet time of each replica that has reported one."""

    replicas: int
    target: int
    leases: float
    quiet_s: tuple[float, ...]


def target_replicas(rule: SlotRule, demand: Demand) -> int:
    """A slot keeps what its leases need, and its last replica until all have been quiet for `unload_after_s`."""
    wanted = math.ceil(demand.leases / rule.leases_per_replica)
    if wanted == 0 and not _quiet_enough(rule, demand):
        wanted = 1
    return max(rule.min_replicas, min(wanted, rule.max_replicas))


def _quiet_enough(rule: SlotRule, demand: Demand) -> bool:
    if demand.replicas == 0:
        return True
    if rule.unload_after_s is None or len(demand.quiet_s) < demand.replicas:
        return False
    return min(demand.quiet_s) >= rule.unload_after_s


class SlotPolicy:
    """Serve's application-level policy; `rules` are `SlotRule` fields by deployment name."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from serve_app.config import parse_config

        self._rules = rules_for(parse_config(config))

    def __call__(
        self, contexts: "Mapping[DeploymentID, AutoscalingContext]"
    ) -> "tuple[dict[DeploymentID, int], dict[DeploymentID, dict[str, Any]]]":
        targets = {
            deployment: target_replicas(self._rules[deployment.name], demand_of(context))
            for deployment, context in contexts.items()
            if deployment.name in self._rules
        }
        return targets, {}


def rules_for(config: Any) -> dict[str, SlotRule]:
    return {
        slot.name: SlotRule(
            min_replicas=slot.replica_floor,
            max_replicas=slot.max_replicas,
            unload_after_s=None if slot.pin else slot.unload_after_s,
            leases_per_replica=config.ingress.replicas,
        )
        for slot in config.slots
    }


def demand_of(context: "AutoscalingContext") -> Demand:
    series_of_replicas = (context.raw_metrics or {}).get(QUIET_METRIC, {}).values()
    quiet_s = tuple(series[-1].value for series in series_of_replicas if series)
    return Demand(
        replicas=context.current_num_replicas,
        target=context.target_num_replicas,
        leases=context.total_num_requests if context.current_num_replicas == 0 else _held(context, quiet_s),
        quiet_s=quiet_s,
    )


def _held(context: "AutoscalingContext", quiet_s: tuple[float, ...]) -> float:
    """Leases held or waited for. Serve averages them over a window, so a slot that its replicas call quiet is quiet."""
    if len(quiet_s) >= context.current_num_replicas and min(quiet_s, default=0) > 0:
        return 0
    return context.total_num_requests
