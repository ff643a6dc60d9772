"""Worker processes that Ray has started and filled with our modules before a replica needs one.

A cold start is mostly the start of the replica's process. Ray hands an actor an idle worker if it has one, but keeps
none by itself for long; its raylets take the wish to start some more, and to keep them.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

logger = logging.getLogger("hal0.warm_workers")

CALL_TIMEOUT_S = 5.0
KEPT_S = 7 * 24 * 3600
"""Ray ends an idle worker after this time; the next look makes another."""
STARTING_S = 10.0
"""A worker that was asked for and is not there after this time will not come."""

RAYLET: Any = node_manager_pb2
COMMON: Any = common_pb2
"""Ray's generated messages tell no types."""
STATS = RAYLET.GetNodeStatsRequest()

Node = Mapping[str, Any]
"""As `ray.nodes()` has it."""


class WarmWorkers:
    """Keeps `count` idle workers on every node. One that is taken is replaced at the next `keep`."""

    def __init__(self, count: int) -> None:
        self._count, self._job = count, ray.get_runtime_context().get_job_id()
        self._shortages: dict[str, Shortage] = {}
        """By node."""

    def taken(self, node: str) -> None:
        """A replica has started there, perhaps in a worker that nobody has seen idle."""
        if (shortage := self._shortages.get(node)) is not None:
            shortage.taken()

    async def keep(self) -> None:
        """Looks at all nodes, which takes some 30 ms each. One that does not answer is left for the next time."""
        if self._count:
            await asyncio.to_thread(self._keep_all)

    def _keep_all(self) -> None:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        for node in nodes:
            if not node["Alive"]:
                continue
            try:
                self._keep_on(node)
            except Exception as error:
                logger.warning("no idle workers can be kept on node %s: %s", node["NodeID"], error)

    def _keep_on(self, node: Node) -> None:
        shortage = self._shortages.setdefault(node["NodeID"], Shortage(self._count))
        with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
            raylet = node_manager_pb2_grpc.NodeManagerServiceStub(channel)  # type: ignore[no-untyped-call]
            idle = idle_workers(raylet.GetNodeStats(STATS, timeout=CALL_TIMEOUT_S), self._job)
            if missing := shortage.missing(idle, time.monotonic()):
                raylet.PrestartWorkers(wish(missing), timeout=CALL_TIMEOUT_S)


class Shortage:
    """Of idle workers on one node. Those that were asked for count while they may still be starting."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle = 0
        self._coming: list[float] = []
        """When each was asked for."""

    def taken(self) -> None:
        self._coming = self._coming[1:]

    def missing(self, idle: int, now: float) -> int:
        """To be asked for now, `idle` being there."""
        arrived = max(0, idle - self._idle)
        self._idle = idle
        self._coming = [asked for asked in self._coming[arrived:] if now - asked < STARTING_S]
        missing = max(0, self._count - idle - len(self._coming))
        self._coming += [now] * missing
        return missing


def idle_workers(stats: Any, job: str) -> int:
    """In a raylet's `GetNodeStatsReply`: those that have nothing to do and that a replica of `job` may become."""
    workers = (one for one in stats.core_workers_stats if one.worker_type == COMMON.WorkerType.WORKER)
    free = (one for one in workers if not is_set(one.actor_id) and not one.num_running_tasks)
    return sum(not is_set(one.job_id) or one.job_id.hex() == job for one in free)


def is_set(identity: bytes) -> bool:
    """Ray's own nothing is all ones."""
    return bool(identity) and identity != b"\xff" * len(identity)


def wish(count: int) -> Any:
    """For workers without a runtime environment, as Serve's replicas are."""
    request = RAYLET.PrestartWorkersRequest(
        language=COMMON.Language.PYTHON, num_workers=count, keep_alive_duration_secs=KEPT_S
    )
    request.runtime_env_info.serialized_runtime_env = "{}"
    return request
