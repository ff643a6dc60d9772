"""The answer to a chat on its way to the client.

It waits here as a whole, however slowly it is read: the NPU would stand idle for a slow reader otherwise, and the
slot's `context_size` bounds it.
"""

import asyncio
import json
from collections.abc import Iterable

from aiohttp import web

from providers.base import JsonObject
from providers.errors import EngineError
from providers.flm.dialect.request import ChatRequest
from providers.flm.engine import FlmEngine
from providers.sse import DONE, ServerSentEvent

WAIT_S = 15.0
"""Without an event, after which a comment keeps proxies from closing the connection. With the first one the status is
gone: an engine that is lost after that cannot be replaced by another without the client's notice."""
WAITING = ServerSentEvent(comment=" wait").encode()
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class Outbox:
    """What has been said and not been sent."""

    def __init__(self) -> None:
        self._said = bytearray()
        self._changed = asyncio.Event()
        self._over = False

    def put(self, chunks: Iterable[JsonObject]) -> None:
        for chunk in chunks:
            self._said += ServerSentEvent(json.dumps(chunk, ensure_ascii=False)).encode()
        if self._said:
            self._changed.set()

    def end(self) -> None:
        self._over = True
        self._changed.set()

    async def take(self, patience_s: float) -> bytes | None:
        """All of it; None if that is all there is. Raises TimeoutError if nothing comes for so long."""
        async with asyncio.timeout(patience_s):
            await self._changed.wait()
        said = bytes(self._said)
        self._said.clear()
        if said and not self._over:
            self._changed.clear()
        return said or None


async def stream(request: web.Request, engine: FlmEngine, asked: ChatRequest) -> web.StreamResponse:
    """Raises `EngineError` if nothing has been sent yet; after that an error is the last event. Raises `EngineGone` at
    any time, and ConnectionError if the client does not read any more."""
    outbox, response = Outbox(), web.StreamResponse(headers=HEADERS)
    speaking = asyncio.create_task(_spoken(engine, asked, outbox))
    try:
        while (said := await _next(outbox)) is not None:
            await _send(request, response, said)
        await speaking
        await _send(request, response, ServerSentEvent(DONE).encode())
    except EngineError as error:
        if not response.prepared:
            raise
        await response.write(ServerSentEvent(json.dumps(envelope(error))).encode())
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    await response.write_eof()
    return response


async def whole(engine: FlmEngine, asked: ChatRequest) -> JsonObject:
    return (await engine.chat(asked, lambda chunks: None)).whole()


def envelope(error: EngineError) -> JsonObject:
    told: JsonObject = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    return {"error": told}


async def _spoken(engine: FlmEngine, asked: ChatRequest, outbox: Outbox) -> None:
    try:
        outbox.put((await engine.chat(asked, outbox.put)).end())
    finally:
        outbox.end()


async def _next(outbox: Outbox) -> bytes | None:
    try:
        return await outbox.take(WAIT_S)
    except TimeoutError:
        return WAITING


async def _send(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    if not response.prepared:
        await response.prepare(request)
    await response.write(data)
