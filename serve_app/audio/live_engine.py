"""A live session with a slot's engine, over the lease that it needs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from providers.asr.messages import EVENT, LARGEST_MESSAGE, Done, Event, Failed, Heard, Start
from providers.base import Endpoint, Route
from providers.errors import EngineError
from providers.spec import SlotSpec
from serve_app.audio.live_outbox import PIECE_BYTES, Outbox
from serve_app.dispatch import NotBegun
from serve_app.errors import EngineDied, type_of
from serve_app.leases import Lease, LeasePool

logger = logging.getLogger("hal0.live")

OPENING_S = 10.0
"""For an engine that has said it is ready to open a session."""
CLOSING = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=1.0)

OnEvent = Callable[[Event], Awaitable[None]]
GetLease = Callable[[], Awaitable[Lease]]


@dataclass(frozen=True, slots=True)
class LiveEngine:
    """`lease` waits for the slot; what it gives is put back into `pool`."""

    slot: SlotSpec
    route: Route
    pool: LeasePool
    lease: GetLease
    http: aiohttp.ClientSession

    async def converse(self, start: Callable[[], Start], outbox: Outbox, heard: OnEvent) -> None:
        """Until it is cancelled. Raises `EngineDied`, the engine's own error, or why the slot gives no lease.

        `start` is asked when the engine is there. Once more on a fresh engine if the first cannot be reached.
        """
        for last_try in (False, True):
            lease = await self.lease()
            try:
                async with self._opened(lease.endpoint) as socket:
                    await socket.send_str(start().model_dump_json())
                    await self._exchange(socket, outbox, heard)
            except NotBegun as error:
                logger.info("slot %s: its engine opened no session: %s", self.slot.name, error)
                self.pool.distrust(lease)
                if last_try:
                    raise EngineDied(self.slot.name, str(error)) from error
            except EngineDied:
                self.pool.distrust(lease)
                raise
            finally:
                self.pool.put_back(lease)

    @asynccontextmanager
    async def _opened(self, endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        url = endpoint.url + self.route.path
        try:
            async with asyncio.timeout(OPENING_S):
                socket = await self.http.ws_connect(
                    url, headers=headers, compress=0, max_msg_size=LARGEST_MESSAGE, timeout=CLOSING
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status >= 400:
                raise self.route.error(error.status, b"") from error
            raise NotBegun(f"it answered {error.status} instead of opening a WebSocket") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotBegun(f"{type(error).__name__}: {error}") from error
        try:
            yield socket
        except (aiohttp.ClientError, ConnectionError) as error:
            raise EngineDied(self.slot.name, f"{type(error).__name__} in mid-session") from error
        finally:
            await socket.close()

    async def _exchange(self, socket: aiohttp.ClientWebSocketResponse, outbox: Outbox, heard: OnEvent) -> None:
        """Both directions at once, until the engine ends its own."""
        tasks = [asyncio.create_task(self._listen(socket, heard)), asyncio.create_task(_feed(socket, outbox))]
        try:
            # Feeding ends early when the engine is gone: it is listening that finds out why.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, heard: OnEvent) -> None:
        async for message in socket:
            try:
                event = EVENT.validate_json(message.data)
            except ValidationError as error:
                raise EngineDied(self.slot.name, "it sent what is no event") from error
            if isinstance(event, Heard | Done):
                raise EngineDied(self.slot.name, "it took the session for a file")
            if isinstance(event, Failed) and event.utterance is None:
                raise EngineError(event.status, event.message, type_of(event.status), event.code, event.param)
            await heard(event)
        raise EngineDied(self.slot.name, "it ended the session")


async def _feed(socket: aiohttp.ClientWebSocketResponse, outbox: Outbox) -> None:
    """What waits, and whatever comes. The socket's own backpressure holds it back."""
    try:
        while True:
            one = await outbox.get()
            if isinstance(one, bytes):
                for at in range(0, len(one), PIECE_BYTES):
                    await socket.send_bytes(one[at : at + PIECE_BYTES])
            else:
                await socket.send_str(one.model_dump_json())
    except (aiohttp.ClientError, ConnectionError):
        return
