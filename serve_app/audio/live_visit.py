"""One session with an engine, over one lease."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import ValidationError

from providers.asr.messages import (
    EVENT,
    Clear,
    Cleared,
    Committed,
    Done,
    Event,
    Failed,
    Heard,
    Partial,
    SpeechStarted,
    SpeechStopped,
)
from providers.errors import EngineError
from serve_app.audio.live_account import Account
from serve_app.audio.live_outbox import Outbox
from serve_app.errors import EngineDied, type_of
from serve_app.leases import Lease

LOOK_S = 0.2
"""How often a session to which nobody talks looks whether its lease is wanted back."""
PATIENCE_S = 30.0
"""For an utterance to end, when the lease is wanted back."""

OnEvent = Callable[[Event], Awaitable[None]]


class Visit:
    """What `outbox` has goes to the engine, and what it says to `heard`. Over when the lease is wanted back and no
    utterance is under way, or has been for too long: `account` then tells what the engine has not settled.

    The last thing that the engine is told is to forget. That it has forgotten tells that nothing comes of what it was
    sent before. What it begins to hear meanwhile is kept from the client: another engine will hear that.
    """

    def __init__(
        self,
        slot: str,
        socket: aiohttp.ClientWebSocketResponse,
        lease: Lease,
        account: Account,
        outbox: Outbox,
        heard: OnEvent,
    ) -> None:
        self._slot, self._socket, self._lease = slot, socket, lease
        self._account, self._outbox, self._heard = account, outbox, heard
        self._parting = self._forgotten = False
        self._withheld: list[Event] = []

    async def run(self) -> None:
        """Raises `EngineDied`, or the engine's own error."""
        await self._socket.send_str(self._account.start.model_dump_json())
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._feed())]
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

    @property
    def _may_part(self) -> bool:
        since = self._lease.wanted_since
        return since is not None and (not self._account.under_way or time.monotonic() - since >= PATIENCE_S)

    async def _feed(self) -> None:
        """What waits, and whatever comes. The socket's own backpressure holds it back."""
        try:
            while not self._may_part:
                one = await self._outbox.get(LOOK_S)
                if one is None:
                    continue
                self._account.sent(one)
                if isinstance(one, bytes):
                    await self._socket.send_bytes(one)
                else:
                    await self._socket.send_str(one.model_dump_json())
            self._parting = True
            await self._socket.send_str(Clear().model_dump_json())
        except (aiohttp.ClientError, ConnectionError):
            return

    async def _listen(self) -> None:
        async for message in self._socket:
            await self._hear(self._understood(message))
            if self._forgotten and not self._account.text_due:
                return
        raise EngineDied(self._slot, "it ended the session")

    async def _hear(self, event: Event) -> None:
        if self._parting and isinstance(event, Cleared) and not self._account.clears_due:
            self._forgotten = True
            return
        self._account.heard(event)
        match event:
            case SpeechStarted() | SpeechStopped() | Partial() if self._parting:
                self._withheld.append(event)
                return
            case Committed():
                for one in self._withheld:
                    await self._heard(one)
                self._withheld.clear()
            case Cleared():
                self._withheld.clear()
        await self._heard(event)

    def _understood(self, message: aiohttp.WSMessage) -> Event:
        try:
            event = EVENT.validate_json(message.data)
        except ValidationError as error:
            raise EngineDied(self._slot, "it sent what is no event") from error
        if isinstance(event, Heard | Done):
            raise EngineDied(self._slot, "it took the session for a file")
        if isinstance(event, Failed) and event.utterance is None:
            raise EngineError(event.status, event.message, type_of(event.status), event.code, event.param)
        return event
