"""One request on one engine: it waits for a lease, is tried, and once more on a fresh engine if the first went away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers

from serve_app.errors import BadRequest, EngineDied, RequestTimeout, ServingError
from serve_app.leases import Lease, LeasePool
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

logger = logging.getLogger("hal0.dispatch")

PRIORITY_HEADER = "x-hal0-priority"
PRIORITIES = range(-100, 101)

Attempt = Callable[[Lease], Awaitable[None]]
"""Answers the client from one engine. Raises `NotBegun` if nothing of an answer has come."""
LeaseOne = Callable[[], Awaitable[Lease]]


class NotBegun(Exception):
    """The engine went away before it answered; another may. `verdict`: what the client is told if that does not either,
    where it is not that its engine died."""

    def __init__(self, reason: str, verdict: ServingError | None = None) -> None:
        super().__init__(reason, verdict)
        self.reason, self.verdict = reason, verdict

    def __str__(self) -> str:
        return self.reason


class Dispatch:
    """For all requests of one kind; `pools` by the names of their slots."""

    def __init__(self, pools: Mapping[str, LeasePool], patience: Patience) -> None:
        self._pools, self._patience = pools, patience

    async def run(self, waiting: WaitingRequest, reply: Reply, attempt: Attempt) -> None:
        """Raises `RequestTimeout` once the slot's `request_timeout_s` is over, waiting included; `EngineDied` if two
        engines went away; and whatever makes waiting useless."""
        limit_s = waiting.slot.request_timeout_s
        if limit_s is None:
            return await self._tried(waiting, reply, attempt)
        try:
            async with asyncio.timeout(limit_s):
                await self._tried(waiting, reply, attempt)
        except TimeoutError as error:
            raise RequestTimeout(waiting.slot.name, limit_s) from error

    async def lease(self, waiting: WaitingRequest, reply: Reply) -> Lease:
        """At once, or as `Patience` waits."""
        pool = self._pools[waiting.slot.name]
        return pool.take(waiting.without_place, waiting.prompt) or await self._patience.lease(waiting, pool, reply)

    async def _tried(self, waiting: WaitingRequest, reply: Reply, attempt: Attempt) -> None:
        await tried(self._pools[waiting.slot.name], waiting, lambda: self.lease(waiting, reply), attempt)


async def tried(pool: LeasePool, waiting: WaitingRequest, lease_one: LeaseOne, attempt: Attempt) -> None:
    """On one engine, and once more on a fresh one if that goes away before it answers."""
    for last_try in (False, True):
        lease = await lease_one()
        try:
            return await attempt(lease)
        except NotBegun as error:
            logger.info("slot %s: its engine did not answer: %s", waiting.slot.name, error)
            pool.distrust(lease)
            if last_try:
                raise error.verdict or EngineDied(waiting.slot.name, error.reason) from error
        finally:
            pool.put_back(lease, waiting.without_place)
            if waiting.queued:
                pool.note_use()


def priority_of(headers: Headers) -> int | None:
    """The request's own priority. Raises 400 for one that is none."""
    text = headers.get(PRIORITY_HEADER)
    if text is None:
        return None
    try:
        priority = int(text)
    except ValueError:
        priority = PRIORITIES.stop
    if priority not in PRIORITIES:
        message = f"The header '{PRIORITY_HEADER}' must be an integer from -100 to 100, not '{text[:40]}'."
        raise BadRequest(400, message, "invalid_priority", PRIORITY_HEADER)
    return priority
