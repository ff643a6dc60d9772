"""A slot whose engine is one over several stages: a placement group reserves its claim once for each of them.

The replica's actor lives in the first bundle and takes nothing of it: the engine's own workers take what is reserved.
"""

import os
from typing import Any

import ray

from serve_app.placement import Claim

CLUSTER_KEY = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Where Ray finds the token of a cluster that asks for one: https://docs.ray.io/en/latest/ray-security/token-auth.html"""

Bundles = list[dict[str, float]]

STRATEGY = "PACK"
"""Stages that fit on one node are better off together, and those that do not may be apart."""


def bundles_of(claim: Claim, stages: int) -> Bundles:
    return [dict(claim.as_resources()) for _ in range(stages)]


def reservation() -> dict[str, Any]:
    """What `Placement` tells of it: the group's id, and how a process of this node joins the cluster."""
    group = ray.util.get_current_placement_group()
    if group is None:
        return {}
    return {
        "placement_group": group.id.hex(),
        "cluster_address": ray.get_runtime_context().gcs_address,
        "cluster_key": {name: os.environ[name] for name in CLUSTER_KEY if name in os.environ},
    }


def further_nodes() -> tuple[str, ...]:
    """The nodes of the stages after the first, an entry for each. Asks Ray's control store: milliseconds, blocking."""
    group = ray.util.get_current_placement_group()
    if group is None:
        return ()
    nodes = ray.util.placement_group_table(group)["bundles_to_node_id"]
    return tuple(nodes[index] for index in sorted(nodes))[1:]
