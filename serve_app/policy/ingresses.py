"""Which nodes have an ingress, and how many there are to be, where every node is to have one. Pure."""

from collections.abc import Mapping

from serve_app.fleet import NodeSeen

LOST_FOR_S = 15.0
"""Serve finds out later than the policy that a node is gone, and with it its ingress. Told to have fewer before that,
it would stop one that lives."""


def serving_nodes(nodes: Mapping[str, NodeSeen], resource: str | None) -> tuple[str, ...]:
    """Those that declare `resource`; None: all."""
    return tuple(name for name, node in nodes.items() if resource is None or node.total.get(resource, 0.0) > 0)


class IngressCount:
    """More at once, fewer after a while."""

    def __init__(self) -> None:
        self._fewer_since: float | None = None

    def target(self, nodes: int, target: int, now: float) -> int:
        """`nodes` are to have one each, `target` is what Serve aims at. Never none: without one nobody is answered."""
        wanted = max(1, nodes)
        if wanted >= target:
            self._fewer_since = None
            return wanted
        if self._fewer_since is None:
            self._fewer_since = now
        return wanted if now - self._fewer_since >= LOST_FOR_S else target
