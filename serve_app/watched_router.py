"""Serve's request router for calls of `SlotDeployment.lease`. API: ray.serve.request_router (public, alpha).

Requests themselves never pass here: which of several replicas a request goes to is decided in the ingress, which holds
a lease on each (`leases.py`, `affinity.py`). Ray copies this module's contents into each process instead of importing
it; what is shared lives in `replica_watch`.
"""

import random

from ray.serve.request_router import LocalityMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica

from serve_app import replica_watch


class WatchedRouter(LocalityMixin, RequestRouter):
    """Sends each call to a replica that no other call of its ingress has asked, and tells `replica_watch` of that and
    of every change in the set of running replicas. A call's name is its session id. With no such replica it waits."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One replica, which Serve then asks whether it takes the call."""
        if pending_request is None:
            return []
        # Serve looks again at once, for ever, unless it is told to pause.
        pending_request.routing_context.should_backoff = True
        name, call = self._deployment_id.name, pending_request.metadata.session_id
        asked = replica_watch.asked_by_others(name, call)
        free = [replica for replica in candidate_replicas if replica.replica_id.unique_id not in asked]
        if not free:
            return []
        # The best one has not taken it, and would not for as long as it is cut off.
        again = replica_watch.asked_by(name, call) is not None
        chosen = random.choice(free) if again else min(free, key=self._distance)
        return [[chosen]] if replica_watch.replica_asked(name, call, chosen.replica_id.unique_id) else []

    def _distance(self, replica: RunningReplica) -> tuple[int, int]:
        """How many leases it has granted, as far as is known, then whether it is on another node."""
        near, *_ = self.rank_replicas_via_locality([replica])
        return self.replica_queue_len_cache.get(replica.replica_id) or 0, 0 if near else 1

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        self._tell()

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Earlier than Serve's controller notices."""
        super().on_replica_actor_died(replica_id)
        self._tell()

    def _tell(self) -> None:
        running = frozenset(replica.unique_id for replica in self.curr_replicas)
        replica_watch.replicas_running(self._deployment_id.name, running)
