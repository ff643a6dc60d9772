"""A file's session with an engine: its sound goes there while what is heard comes back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
from pydantic import ValidationError

from providers.asr.messages import EVENT, Done, End, Failed, Heard, Start
from providers.base import Endpoint
from providers.errors import EngineError
from serve_app.audio.decode import Audio
from serve_app.audio.engine_socket import hang_up, opened
from serve_app.dispatch import NotBegun
from serve_app.errors import EngineDied, ServingError, type_of

STOPPING = 503
"""What an engine says that is being stopped."""


class Engine:
    """A slot's engine under one lease; `path` is where its sessions are."""

    def __init__(self, http: aiohttp.ClientSession, slot: str, endpoint: Endpoint, path: str) -> None:
        self._http, self._slot, self._endpoint, self._path = http, slot, endpoint, path

    async def hear(self, start: Start, audio: Audio) -> AsyncGenerator[Heard | Done]:
        """Events as they come; the last one is `Done`. To be closed by whoever does not read on.

        Raises `NotBegun` if the engine goes away before the first one, `EngineDied` after that, the engine's own error,
        and `BadRequest` if the file breaks in the middle.
        """
        socket = await opened(self._http, self._slot, self._endpoint, self._path)
        faults: list[Exception] = []
        speaking = asyncio.create_task(_speak(socket, start, audio, faults))
        begun = done = False
        try:
            async for message in socket:
                event = self._understood(message, begun)
                begun, done = True, isinstance(event, Done)
                yield event
                if done:
                    return
            raise faults[0] if faults else self._gone("it ended the session", begun)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
            if not done:
                hang_up(socket)
            await socket.close()

    def _understood(self, message: aiohttp.WSMessage, begun: bool) -> Heard | Done:
        if message.type is aiohttp.WSMsgType.ERROR:
            raise self._gone(f"{type(message.data).__name__} in mid-session", begun)
        try:
            event = EVENT.validate_json(message.data)
        except ValidationError as error:
            raise EngineDied(self._slot, "it sent what is no event") from error
        if isinstance(event, Failed):
            if event.status == STOPPING:
                raise self._gone(event.message, begun)
            raise EngineError(event.status, event.message, type_of(event.status), event.code, event.param)
        if not isinstance(event, Heard | Done):
            raise EngineDied(self._slot, "it took the file for a live session")
        return event

    def _gone(self, why: str, begun: bool) -> NotBegun | ServingError:
        return EngineDied(self._slot, why) if begun else NotBegun(why)


async def _speak(socket: aiohttp.ClientWebSocketResponse, start: Start, audio: Audio, faults: list[Exception]) -> None:
    """All of the file, or up to its fault, which ends the session. The socket's own backpressure holds it back, and one
    that breaks is noticed by whoever listens."""
    try:
        await socket.send_str(start.model_dump_json())
        async with aclosing(audio.pieces()) as pieces:
            async for piece in pieces:
                await socket.send_bytes(piece)
        await socket.send_str(End().model_dump_json())
    except (aiohttp.ClientError, ConnectionError):
        return
    except Exception as error:
        faults.append(error)
        await socket.close()
