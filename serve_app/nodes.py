"""The cluster's nodes as Ray knows them."""

from collections.abc import Mapping

import ray

from serve_app.fleet import NodeSeen
from serve_app.placement import NodeResources


def alive_nodes() -> dict[str, NodeSeen]:
    """The living nodes by id, with what each declares. Asks Ray's control store: milliseconds, blocking."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: NodeSeen(node["Resources"]) for node in nodes if node["Alive"]}


def declared(nodes: Mapping[str, NodeSeen]) -> list[NodeResources]:
    return [node.total for node in nodes.values()]
