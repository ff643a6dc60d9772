"""Serve's own request router, overheard. API: ray.serve.request_router (public, alpha).

Ray copies this module's contents into each process instead of importing it; what is shared lives in `replica_watch`.
"""

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import RunningReplica

from serve_app import replica_watch


class WatchedRouter(PowerOfTwoChoicesRequestRouter):
    """Tells `replica_watch` of every change in the set of running replicas."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        running = frozenset(replica.replica_id.unique_id for replica in replicas)
        replica_watch.replicas_running(self._deployment_id.name, running)
