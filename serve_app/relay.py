"""The data path: one request from a client to an engine and its answer back, as bytes wherever dialects agree."""

import aiohttp
from pydantic_core import from_json
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from providers.base import JsonObject, Route, Translation
from providers.capabilities import Operation
from providers.spec import SlotSpec
from serve_app.directory import SlotDirectory
from serve_app.errors import EngineDied, answer_for
from serve_app.http_io import (
    dump_json,
    parse_object,
    read_body,
    send_chunk,
    send_end,
    send_start,
    send_whole,
    until_client_leaves,
)
from serve_app.leases import Lease, LeasePool
from serve_app.paths import ANTHROPIC

UNTOUCHED = Translation()
EVENT_STREAM = "text/event-stream"
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class NotBegun(Exception):
    """The engine went away before it answered; another may."""


class Relay:
    """An ASGI application for one operation."""

    def __init__(
        self,
        operation: Operation,
        directory: SlotDirectory,
        pools: dict[str, LeasePool],
        http: aiohttp.ClientSession,
        max_body_bytes: int,
    ) -> None:
        self._operation, self._directory, self._pools = operation, directory, pools
        self._http, self._max_body_bytes = http, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            body = b""
            payload: JsonObject = dict(QueryParams(scope["query_string"]))
        else:
            body = await read_body(Headers(scope=scope), receive, self._max_body_bytes)
            payload = parse_object(body)
        slot = self._directory.find(payload.get("model"))
        scope["slot"] = slot.name
        route = self._directory.route(slot, self._operation)
        translation = route.translate(payload, slot) if route.translate else UNTOUCHED
        if translation.request is not None:
            body = dump_json(translation.request)
        del payload
        async with until_client_leaves(receive):
            await self._forward(slot, route, body, translation, send)

    async def _forward(self, slot: SlotSpec, route: Route, body: bytes, translation: Translation, send: Send) -> None:
        """Once more on a fresh engine if the first goes away before its answer begins."""
        for last_try in (False, True):
            async with self._pools[slot.name].use() as lease:
                try:
                    return await self._exchange(lease, slot, route, body, translation, send)
                except NotBegun as error:
                    lease.revoked = True
                    if last_try:
                        raise EngineDied(slot.name, str(error)) from error

    async def _exchange(
        self, lease: Lease, slot: SlotSpec, route: Route, body: bytes, translation: Translation, send: Send
    ) -> None:
        headers = {"Authorization": f"Bearer {lease.endpoint.token}", "Content-Type": "application/json"}
        url = lease.endpoint.url + route.path
        try:
            upstream = await self._http.request(route.method, url, data=body or None, headers=headers)
        except aiohttp.ClientError as error:
            raise NotBegun(f"{type(error).__name__}: {error}") from error
        try:
            if upstream.status >= 400:
                raise route.error(upstream.status, await upstream.read())
            if upstream.content_type == EVENT_STREAM:
                await self._stream(slot, upstream, translation, send)
            else:
                await self._whole(upstream, translation, send)
        except aiohttp.ClientError as error:
            raise NotBegun(f"{type(error).__name__}: {error}") from error
        finally:
            # Closing instead of releasing tells the engine at once that nobody reads a half-read answer.
            if upstream.content.at_eof():
                upstream.release()
            else:
                upstream.close()

    async def _whole(self, upstream: aiohttp.ClientResponse, translation: Translation, send: Send) -> None:
        answer = await upstream.read()
        if translation.response is not None:
            answer = dump_json(translation.response(from_json(answer)))
        content_type = upstream.headers.get("Content-Type", "application/json").encode()
        await send_whole(send, upstream.status, [(b"content-type", content_type)], answer)

    async def _stream(
        self, slot: SlotSpec, upstream: aiohttp.ClientResponse, translation: Translation, send: Send
    ) -> None:
        """Chunk by chunk as they come. The status is sent by then, so an engine that dies is an event."""
        await send_start(send, upstream.status, STREAM_HEADERS)
        translator = translation.stream
        try:
            async for chunk in upstream.content.iter_any():
                out = translator.feed(chunk) if translator else chunk
                if out:
                    await send_chunk(send, out)
            if translator and (rest := translator.finish()):
                await send_chunk(send, rest)
        except aiohttp.ClientError as error:
            await send_chunk(send, self._error_event(EngineDied(slot.name, f"{type(error).__name__} in mid-stream")))
        await send_end(send)

    def _error_event(self, error: EngineDied) -> bytes:
        """Begins with an empty line, since the engine may have died in the middle of an event."""
        answer = answer_for(error)
        if self._operation in ANTHROPIC:
            return b"\n\nevent: error\ndata: " + dump_json(answer.anthropic()) + b"\n\n"
        return b"\n\ndata: " + dump_json(answer.openai()) + b"\n\n"
