"""A live session with a slot's engine, over the lease that it needs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from providers.spec import SlotSpec
from serve_app.audio.engine_socket import opened
from serve_app.audio.live_account import Account
from serve_app.audio.live_outbox import Outbox
from serve_app.audio.live_visit import OnEvent, Visit
from serve_app.dispatch import LeaseOne, tried
from serve_app.errors import EngineDied
from serve_app.leases import Lease, LeasePool
from serve_app.patience import WaitingRequest


@dataclass(frozen=True, slots=True)
class LiveEngine:
    """`lease` waits for the slot, as `waiting` may; what it gives is put back into `pool`. Sessions are at `path`."""

    waiting: WaitingRequest
    path: str
    pool: LeasePool
    lease: LeaseOne
    http: aiohttp.ClientSession

    @property
    def slot(self) -> SlotSpec:
        return self.waiting.slot

    async def converse(self, begin: Callable[[], Account], outbox: Outbox, heard: OnEvent) -> None:
        """Until the slot wants its lease back. Raises `EngineDied`, the engine's own error, or why the slot gives no
        lease.

        `begin` is asked when the engine is there. Once more on a fresh engine if the first cannot be reached.
        """

        async def visit(lease: Lease) -> None:
            async with self._opened(lease) as socket:
                await Visit(self.slot.name, socket, lease, begin(), outbox, heard).run()

        await tried(self.pool, self.waiting, self.lease, visit)

    @asynccontextmanager
    async def _opened(self, lease: Lease) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        socket = await opened(self.http, self.slot.name, lease.endpoint, self.path)
        try:
            yield socket
        except (aiohttp.ClientError, ConnectionError) as error:
            self.pool.distrust(lease)
            raise EngineDied(self.slot.name, f"{type(error).__name__} in mid-session") from error
        except EngineDied:
            self.pool.distrust(lease)
            raise
        finally:
            await socket.close()
