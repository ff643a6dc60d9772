"""Serve's request router as ours: the real class, on replicas that answer here. Without a cluster."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, cast

import pytest
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve.request_router import PendingRequest, RunningReplica

from serve_app import replica_watch
from serve_app.watched_router import WatchedRouter

PATIENCE_S = 5.0
HERE, THERE = "node 1", "node 2"
_slots = count()


class Replica:
    """`leases`: how many calls are on it; `answers`: whether it can be reached."""

    availability_zone = None
    multiplexed_model_ids: frozenset[str] = frozenset()
    max_ongoing_requests = 10_000

    def __init__(self, deployment: DeploymentID, name: str, node: str, leases: int = 0) -> None:
        self.replica_id = ReplicaID(unique_id=name, deployment_id=deployment)
        self.node_id, self.leases = node, leases
        self.failure: Exception | None = None

    async def get_queue_len(self, *, deadline_s: float) -> int:
        if self.failure is not None:
            raise self.failure
        return self.leases


class Ingress:
    """One slot's router, and the calls that go through it."""

    def __init__(self) -> None:
        self.deployment = DeploymentID(name=f"slot-{next(_slots)}", app_name="default")
        self.router = WatchedRouter(
            deployment_id=self.deployment,
            handle_source=DeploymentHandleSource.REPLICA,
            self_node_id=HERE,
            use_replica_queue_len_cache=True,
            initial_backoff_s=0.001,
            max_backoff_s=0.01,
        )
        self.heard: list[frozenset[str]] = []
        self.stop = replica_watch.watch_replicas(self.deployment.name, self.heard.append)
        self._calls = count()
        self.tasks: list[asyncio.Task[Any]] = []

    def replica(self, name: str, node: str = HERE, leases: int = 0) -> Replica:
        return Replica(self.deployment, name, node, leases)

    def running(self, *replicas: Replica) -> None:
        self.router.update_replicas(cast(list[RunningReplica], list(replicas)))

    def call(self) -> tuple[str, "asyncio.Task[Any]"]:
        """A call for a lease, by its name; the task ends with the replica that it is sent to."""
        name = f"call-{next(self._calls)}"
        replica_watch.call_opened(self.deployment.name, name)
        metadata = RequestMetadata(request_id="", internal_request_id=name, session_id=name)
        pending = PendingRequest(args=[], kwargs={}, metadata=metadata)
        self.tasks.append(asyncio.create_task(self.router._choose_replica_for_request(pending)))
        return name, self.tasks[-1]

    async def sent(self) -> str:
        _, call = self.call()
        return await name_of(call)

    def let_go(self, call: str) -> None:
        replica_watch.let_go(self.deployment.name, call)


async def name_of(call: "asyncio.Task[Any]") -> str:
    async with asyncio.timeout(PATIENCE_S):
        replica = await call
    return str(replica.replica_id.unique_id)


async def settled(ingress: Ingress) -> None:
    """The router has looked several times."""
    looks = 0
    choose = ingress.router.choose_replicas

    async def counted(*args: Any, **more: Any) -> Any:
        nonlocal looks
        looks += 1
        return await choose(*args, **more)

    ingress.router.choose_replicas = counted  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE_S):
        while looks < 3:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)


@pytest.fixture
async def ingress() -> AsyncIterator[Ingress]:
    made = Ingress()
    yield made
    made.stop()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    for task in tuple(made.router._routing_tasks):
        task.cancel()
    await asyncio.gather(*made.router._routing_tasks, return_exceptions=True)


async def test_each_call_goes_to_a_replica_of_its_own(ingress: Ingress) -> None:
    ingress.running(*(ingress.replica(name) for name in ("r1", "r2", "r3")))
    calls = [ingress.call()[1] for _ in range(3)]
    assert {await name_of(call) for call in calls} == {"r1", "r2", "r3"}


async def test_a_call_for_which_there_is_none_waits_for_one(ingress: Ingress) -> None:
    first, second = ingress.replica("r1"), ingress.replica("r2")
    ingress.running(first)
    name, call = ingress.call()
    assert await name_of(call) == "r1"
    _, waiting = ingress.call()
    await settled(ingress)
    assert not waiting.done()
    ingress.running(first, second)
    assert await name_of(waiting) == "r2"
    _, waiting = ingress.call()
    await settled(ingress)
    assert not waiting.done()
    ingress.let_go(name)
    assert await name_of(waiting) == "r1"


async def test_a_call_before_there_is_any_goes_to_the_first(ingress: Ingress) -> None:
    ingress.running()
    _, waiting = ingress.call()
    ingress.running(ingress.replica("r1", THERE))
    assert await name_of(waiting) == "r1"


async def test_a_replica_on_the_same_node_comes_first(ingress: Ingress) -> None:
    ingress.running(ingress.replica("far", THERE), ingress.replica("near"), ingress.replica("farther", THERE))
    assert await ingress.sent() == "near"


async def test_unless_it_has_granted_more_leases(ingress: Ingress) -> None:
    far, near = ingress.replica("far", THERE, leases=1), ingress.replica("near", leases=3)
    ingress.running(far, near)
    await settled_probes(ingress, far, near)
    assert await ingress.sent() == "far"


async def settled_probes(ingress: Ingress, *replicas: Replica) -> None:
    cache = ingress.router.replica_queue_len_cache
    async with asyncio.timeout(PATIENCE_S):
        while any(cache.get(replica.replica_id) is None for replica in replicas):
            await asyncio.sleep(0)


async def test_one_that_cannot_be_reached_is_passed_over(ingress: Ingress) -> None:
    near, far = ingress.replica("near"), ingress.replica("far", THERE)
    near.failure = TimeoutError("cut off")
    ingress.running(near, far)
    assert await ingress.sent() == "far"


async def test_one_that_has_died_is_forgotten_and_told_of(ingress: Ingress) -> None:
    near, far = ingress.replica("near"), ingress.replica("far", THERE)
    near.failure = ActorDiedError()
    ingress.running(near, far)
    assert await ingress.sent() == "far"
    async with asyncio.timeout(PATIENCE_S):
        while ingress.heard[-1] != {"far"}:
            await asyncio.sleep(0)
    assert set(ingress.router.curr_replicas) == {far.replica_id}


async def test_a_call_that_is_over_keeps_no_replica(ingress: Ingress) -> None:
    """Its holder gave it up before Serve had heard of that."""
    name, waiting = ingress.call()
    ingress.let_go(name)
    ingress.running(ingress.replica("r1"))
    await settled(ingress)
    assert not waiting.done()
    assert await ingress.sent() == "r1"


async def test_who_begins_to_watch_hears_what_is_known(ingress: Ingress) -> None:
    ingress.running(ingress.replica("r1"), ingress.replica("r2"))
    heard: list[frozenset[str]] = []
    stop = replica_watch.watch_replicas(ingress.deployment.name, heard.append)
    ingress.running(ingress.replica("r2"))
    stop()
    ingress.running()
    assert heard == [{"r1", "r2"}, {"r2"}]
    assert ingress.heard[-1] == frozenset()
