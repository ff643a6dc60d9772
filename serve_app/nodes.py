"""The cluster's nodes as Ray knows them."""

import asyncio
import time

import ray

from serve_app.placement import NodeResources

FRESH_S = 2.0


def alive_nodes() -> list[NodeResources]:
    """The resources that each living node declares. Asks Ray's control store: milliseconds, blocking."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


class NodeView:
    """The nodes, asked for at most every two seconds."""

    def __init__(self) -> None:
        self._nodes: list[NodeResources] = []
        self._asked = -FRESH_S
        self._lock = asyncio.Lock()

    async def nodes(self) -> list[NodeResources]:
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH_S:
                self._nodes = await asyncio.to_thread(alive_nodes)
                self._asked = time.monotonic()
        return self._nodes
