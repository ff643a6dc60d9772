"""The data path: one request from a client to an engine and its answer back, as bytes wherever dialects agree."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import from_json
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from providers.base import JsonObject, Route, Translation
from providers.capabilities import LIGHT, STREAMING, Operation
from providers.errors import ProviderError
from providers.spec import SlotSpec
from serve_app.affinity_prompt import CONTINUED, prompt_of
from serve_app.directory import SlotDirectory
from serve_app.dispatch import Dispatch, NotBegun, priority_of
from serve_app.engine_connection import ConnectionBroken
from serve_app.engine_http import EngineHttp, EngineResponse
from serve_app.errors import EngineDied, ServingError
from serve_app.http_io import UPLOAD_TIMEOUT_S, dump_json, parse_object, read_body, until_client_leaves
from serve_app.leases import Lease, LeasePool
from serve_app.paths import ANTHROPIC
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

UNTOUCHED = Translation()
EVENT_STREAM = "text/event-stream"


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
        http: EngineHttp,
        max_body_bytes: int,
        patience: Patience,
        upload_timeout_s: float = UPLOAD_TIMEOUT_S,
    ) -> None:
        self._operation, self._directory, self._pools, self._http = operation, directory, pools, http
        self._dispatch = Dispatch(pools, patience)
        self._max_body_bytes, self._upload_timeout_s = max_body_bytes, upload_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["method"] in ("GET", "HEAD"):
            body = b""
            payload: JsonObject = dict(QueryParams(scope["query_string"]))
        else:
            body = await read_body(headers, receive, self._max_body_bytes, self._upload_timeout_s)
            payload = parse_object(body)
        exchange = self._exchange_for(payload, body, headers)
        scope["slot"] = exchange.slot.name
        del payload, body
        reply = Reply(send, self._operation in ANTHROPIC)
        async with until_client_leaves(receive):
            try:
                await self._dispatch.run(exchange.waiting, reply, lambda lease: self._exchange(lease, exchange, reply))
            except (ServingError, ProviderError) as error:
                if not reply.begun:
                    raise
                await reply.fail(error)

    def _exchange_for(self, payload: JsonObject, body: bytes, headers: Headers) -> Exchange:
        slot = self._directory.find(payload.get("model"), self._operation)
        route = self._directory.route(slot, self._operation)
        translation = route.translate(payload, slot) if route.translate else UNTOUCHED
        if translation.request is not None:
            body = dump_json(translation.request)
        streams = payload.get("stream") is True and self._operation in STREAMING
        shows_progress = streams and slot.progress_as_reasoning and self._operation is Operation.CHAT
        light = self._operation in LIGHT
        prompt = prompt_of(payload) if self._operation in CONTINUED and self._pools[slot.name].chooses else None
        return Exchange(
            WaitingRequest(slot, priority_of(headers), light, streams, shows_progress, route.queued, prompt),
            route,
            body,
            translation,
        )

    async def _exchange(self, lease: Lease, exchange: Exchange, reply: Reply) -> None:
        route, endpoint = exchange.route, lease.endpoint
        # llama.cpp closes a connection after a stream, whatever it said before: the next request on it would be lost.
        last = exchange.waiting.streams
        try:
            upstream = await self._http.request(
                route.method, endpoint.url + route.path, endpoint.token, exchange.body, last
            )
        except ConnectionBroken as error:
            raise NotBegun(error.reason) from error
        try:
            if upstream.status >= 400:
                raise route.error(upstream.status, await upstream.read())
            if upstream.content_type.startswith(EVENT_STREAM):
                await self._stream(exchange, upstream, reply)
            else:
                await self._whole(upstream, exchange.translation, reply)
        except ConnectionBroken as error:
            raise NotBegun(error.reason) from error
        finally:
            upstream.release()

    async def _whole(self, upstream: EngineResponse, translation: Translation, reply: Reply) -> None:
        answer = await upstream.read()
        if translation.response is not None:
            answer = dump_json(translation.response(from_json(answer)))
        content_type = (upstream.content_type or "application/json").encode("latin-1")
        await reply.whole(upstream.status, [(b"content-type", content_type)], answer)

    async def _stream(self, exchange: Exchange, upstream: EngineResponse, reply: Reply) -> None:
        """Chunk by chunk as they come. The status is sent by then, so an engine that dies is an event."""
        await reply.begin_stream(upstream.status)
        translator = exchange.translation.stream
        try:
            async for chunk in upstream.pieces():
                out = translator.feed(chunk) if translator else chunk
                if out:
                    await reply.chunk(out)
            if translator and (rest := translator.finish()):
                await reply.chunk(rest)
        except ConnectionBroken as error:
            raise EngineDied(exchange.slot.name, f"{error.reason} in mid-stream") from error
        await reply.end()
