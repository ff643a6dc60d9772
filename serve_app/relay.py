"""The data path: one request from a client to an engine and its answer back, as bytes wherever dialects agree."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from pydantic_core import from_json
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from providers.base import JsonObject, Route, Translation
from providers.capabilities import LIGHT, STREAMING, Operation
from providers.errors import ProviderError
from providers.spec import SlotSpec
from serve_app.directory import SlotDirectory
from serve_app.errors import BadRequest, EngineDied, RequestTimeout, ServingError
from serve_app.http_io import dump_json, parse_object, read_body, until_client_leaves
from serve_app.leases import Lease, LeasePool
from serve_app.paths import ANTHROPIC
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

logger = logging.getLogger("hal0.relay")

UNTOUCHED = Translation()
EVENT_STREAM = "text/event-stream"
LAST_OF_ITS_CONNECTION = {"Connection": "close"}
"""llama.cpp closes a connection after a stream, whatever it said before: the next request on it would be lost."""
PRIORITY_HEADER = "x-hal0-priority"
PRIORITIES = range(-100, 101)


class NotBegun(Exception):
    """The engine went away before it answered; another may."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as the engine gets it, and what its answer needs."""

    waiting: WaitingRequest
    route: Route
    body: bytes
    translation: Translation

    @property
    def slot(self) -> SlotSpec:
        return self.waiting.slot


class Relay:
    """An ASGI application for one operation."""

    def __init__(
        self,
        operation: Operation,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        max_body_bytes: int,
        patience: Patience,
    ) -> None:
        self._operation, self._directory, self._pools = operation, directory, pools
        self._http, self._max_body_bytes, self._patience = http, max_body_bytes, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["method"] in ("GET", "HEAD"):
            body = b""
            payload: JsonObject = dict(QueryParams(scope["query_string"]))
        else:
            body = await read_body(headers, receive, self._max_body_bytes)
            payload = parse_object(body)
        exchange = self._exchange_for(payload, body, headers)
        scope["slot"] = exchange.slot.name
        del payload, body
        reply = Reply(send, self._operation in ANTHROPIC)
        async with until_client_leaves(receive):
            try:
                await self._in_time(exchange, reply)
            except (ServingError, ProviderError) as error:
                if not reply.begun:
                    raise
                await reply.fail(error)

    def _exchange_for(self, payload: JsonObject, body: bytes, headers: Headers) -> Exchange:
        slot = self._directory.find(payload.get("model"))
        route = self._directory.route(slot, self._operation)
        translation = route.translate(payload, slot) if route.translate else UNTOUCHED
        if translation.request is not None:
            body = dump_json(translation.request)
        streams = payload.get("stream") is True and self._operation in STREAMING
        shows_progress = streams and slot.progress_as_reasoning and self._operation is Operation.CHAT
        light = self._operation in LIGHT
        return Exchange(
            WaitingRequest(slot, priority_of(headers), light, streams, shows_progress), route, body, translation
        )

    async def _in_time(self, exchange: Exchange, reply: Reply) -> None:
        limit_s = exchange.slot.request_timeout_s
        if limit_s is None:
            return await self._forward(exchange, reply)
        try:
            async with asyncio.timeout(limit_s):
                await self._forward(exchange, reply)
        except TimeoutError as error:
            raise RequestTimeout(exchange.slot.name, limit_s) from error

    async def _forward(self, exchange: Exchange, reply: Reply) -> None:
        """Once more on a fresh engine if the first goes away before its answer begins."""
        pool, light = self._pools[exchange.slot.name], exchange.waiting.light
        for last_try in (False, True):
            lease = pool.take(light) or await self._patience.lease(exchange.waiting, pool, reply)
            try:
                return await self._exchange(lease, exchange, reply)
            except NotBegun as error:
                logger.info("slot %s: its engine did not answer: %s", exchange.slot.name, error)
                pool.distrust(lease)
                if last_try:
                    raise EngineDied(exchange.slot.name, str(error)) from error
            finally:
                pool.put_back(lease, light)

    async def _exchange(self, lease: Lease, exchange: Exchange, reply: Reply) -> None:
        headers = {"Authorization": f"Bearer {lease.endpoint.token}", "Content-Type": "application/json"}
        if exchange.waiting.streams:
            headers |= LAST_OF_ITS_CONNECTION
        route = exchange.route
        url = lease.endpoint.url + route.path
        try:
            upstream = await self._http.request(route.method, url, data=exchange.body or None, headers=headers)
        except aiohttp.ClientError as error:
            raise NotBegun(f"{type(error).__name__}: {error}") from error
        try:
            if upstream.status >= 400:
                raise route.error(upstream.status, await upstream.read())
            if upstream.content_type == EVENT_STREAM:
                await self._stream(exchange, upstream, reply)
            else:
                await self._whole(upstream, exchange.translation, reply)
        except aiohttp.ClientError as error:
            raise NotBegun(f"{type(error).__name__}: {error}") from error
        finally:
            # Closing instead of releasing tells the engine at once that nobody reads a half-read answer.
            if upstream.content.at_eof():
                upstream.release()
            else:
                upstream.close()

    async def _whole(self, upstream: aiohttp.ClientResponse, translation: Translation, reply: Reply) -> None:
        answer = await upstream.read()
        if translation.response is not None:
            answer = dump_json(translation.response(from_json(answer)))
        content_type = upstream.headers.get("Content-Type", "application/json").encode()
        await reply.whole(upstream.status, [(b"content-type", content_type)], answer)

    async def _stream(self, exchange: Exchange, upstream: aiohttp.ClientResponse, reply: Reply) -> None:
        """Chunk by chunk as they come. The status is sent by then, so an engine that dies is an event."""
        await reply.begin_stream(upstream.status)
        translator = exchange.translation.stream
        try:
            async for chunk in upstream.content.iter_any():
                out = translator.feed(chunk) if translator else chunk
                if out:
                    await reply.chunk(out)
            if translator and (rest := translator.finish()):
                await reply.chunk(rest)
        except aiohttp.ClientError as error:
            raise EngineDied(exchange.slot.name, f"{type(error).__name__} in mid-stream") from error
        await reply.end()


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
