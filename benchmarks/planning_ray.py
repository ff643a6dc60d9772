"""What Ray itself takes for a cluster's small talk: a call to a replica, a look at the nodes, a note in its store."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import ray
from ray import serve
from ray.experimental import internal_kv
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from benchmarks.planning_figure import Figure
from serve_app.liveness import living_replicas
from serve_app.nodes import alive_nodes
from serve_app.warm_workers import WarmWorkers

CALLS, AT_ONCE, ROUNDS, LOOKS = 400, 16, 5, 50
NOTE_BYTES = 120_000
"""What the board leaves for the policy with 800 slots."""


class Listener:
    """As the board: it takes what is told, and says how much CPU that took."""

    async def take(self, _told: Any) -> None:
        return None

    async def spent_s(self) -> float:
        return time.process_time()


def of_ray() -> Iterator[Figure]:
    """Starts a Ray of its own, and stops it."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        serve.start(proxy_location=ProxyLocation.Disabled, http_options=HTTPOptions(port=0))
        yield from _calls()
        yield from _looks()
    finally:
        ray.shutdown()


def _calls() -> Iterator[Figure]:
    deployment: Any = serve.deployment(
        Listener,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    serve.run(deployment.bind(), name="planning", route_prefix=None)
    through_serve, plain = asyncio.run(_told())
    for what, rounds in (("call through Serve", through_serve), ("call of a plain actor", plain)):
        heard, told = zip(*rounds, strict=True)
        yield Figure(f"a {what}, for who is called", 0, 1, median(heard), "us")
        yield Figure(f"a {what}, for who calls", 0, 1, median(told), "us")


Rounds = list[tuple[float, float]]
"""CPU microseconds of one call, of who is called and of who calls."""


async def _told() -> tuple[Rounds, Rounds]:
    through_serve = await _tell(serve.get_app_handle("planning"))
    actor: Any = ray.remote(num_cpus=0)(Listener)
    plain = await _tell(actor.remote())
    # On the loop on which its handles live.
    await serve.shutdown_async()  # type: ignore[no-untyped-call]
    return through_serve, plain


async def _tell(listener: Any) -> Rounds:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with turns:
            await listener.take.remote({"slot": "chat", "in_flight": 1})

    rounds = []
    for _ in range(1 + ROUNDS):
        theirs, own = await listener.spent_s.remote(), time.process_time()
        await asyncio.gather(*(one() for _ in range(CALLS)))
        own_spent = time.process_time() - own
        rounds.append(((await listener.spent_s.remote() - theirs) / CALLS * 1e6, own_spent / CALLS * 1e6))
    return rounds[1:]


def _looks() -> Iterator[Figure]:
    workers, kv, note = WarmWorkers(1), _kv(), bytes(NOTE_BYTES)
    asyncio.run(workers.keep())
    yield Figure("a look at the nodes", 0, 1, _clock_us(alive_nodes), "us")
    yield Figure("a look at who lives", 0, 1, _clock_us(living_replicas), "us")
    yield Figure("a look at one node's workers", 0, 1, _clock_us(lambda: asyncio.run(workers.keep()), 10), "us")
    yield Figure("a note of 120 kB, written", 0, 1, _clock_us(lambda: kv._internal_kv_put(b"planning", note)), "us")
    yield Figure("a note of 120 kB, read", 0, 1, _clock_us(lambda: kv._internal_kv_get(b"planning")), "us")


def _kv() -> Any:
    return internal_kv


def _clock_us(look: Callable[[], object], looks: int = LOOKS) -> float:
    """By the clock, since most of it is waited for: the median."""
    took = []
    for _ in range(looks):
        began = time.monotonic()
        look()
        took.append(time.monotonic() - began)
    return median(took) * 1e6
