"""The thinnest ingress: parses a body, applies a provider's route, and proxies to an engine. Runs in a thread."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import jiter
import uvicorn
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as HttpRoute

from providers.base import JsonObject, Route, StreamTranslator
from providers.capabilities import Operation
from providers.errors import EngineError, InvalidRequest
from providers.spec import SlotSpec
from tests.support.server import free_port

START_TIMEOUT_S = 20
PATHS: Mapping[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/completion": Operation.NATIVE_COMPLETION,
    "/v1/responses": Operation.RESPONSES,
    "/v1/messages": Operation.MESSAGES,
    "/v1/messages/count_tokens": Operation.COUNT_TOKENS,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/embedding": Operation.NATIVE_EMBEDDINGS,
    "/v1/rerank": Operation.RERANK,
    "/tokenize": Operation.TOKENIZE,
    "/detokenize": Operation.DETOKENIZE,
    "/apply-template": Operation.APPLY_TEMPLATE,
    "/infill": Operation.INFILL,
    "/props": Operation.PROPERTIES,
    "/slots": Operation.ENGINE_SLOTS,
}


@dataclass(frozen=True, slots=True)
class Upstream:
    slot: SlotSpec
    url: str


class Relay:
    """Answers for several slots, each with an engine of its own."""

    def __init__(self, upstreams: list[Upstream], route_of: Callable[[Operation], Route | None]) -> None:
        self._upstreams = {upstream.slot.name: upstream for upstream in upstreams}
        self._route_of = route_of
        self._http = httpx.AsyncClient(timeout=60, trust_env=False)
        paths = [HttpRoute(path, self._answer, methods=["GET", "POST"]) for path in PATHS]
        self.app = Starlette(routes=paths, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self._http:
            yield

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._proxied(request)
        except InvalidRequest as error:
            return _error(400, "invalid_request_error", error.message, error.param, error.code)
        except EngineError as error:
            return _error(error.status, error.type, error.message, error.param, error.code)

    async def _proxied(self, request: Request) -> Response:
        body = await request.body()
        payload: JsonObject = jiter.from_json(body) if body else dict(request.query_params)
        upstream = self._upstreams[str(payload["model"])]
        route = self._route_of(PATHS[request.url.path])
        assert route is not None
        translation = route.translate(payload, upstream.slot) if route.translate else None
        changed = translation.request if translation else None
        sent = self._http.build_request(
            route.method,
            upstream.url + route.path,
            json=changed,
            content=None if changed is not None else body,
            headers={"Content-Type": "application/json"},
        )
        answer = await self._http.send(sent, stream=True)
        if answer.status_code >= 400:
            raise route.error(answer.status_code, await _read(answer))
        if answer.headers["content-type"].startswith("text/event-stream"):
            return StreamingResponse(
                _translated(answer, translation.stream if translation else None), media_type="text/event-stream"
            )
        whole = await _read(answer)
        if translation is None or translation.response is None:
            return Response(whole, media_type="application/json")
        return JSONResponse(translation.response(jiter.from_json(whole)))


async def _read(answer: httpx.Response) -> bytes:
    try:
        return await answer.aread()
    finally:
        await answer.aclose()


async def _translated(answer: httpx.Response, translator: StreamTranslator | None) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield translator.feed(chunk) if translator else chunk
        if translator:
            yield translator.finish()
    finally:
        await answer.aclose()


def _error(status: int, kind: str, message: str, param: str | None, code: str | None) -> Response:
    fields: JsonValue = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": fields}, status)


@contextmanager
def running_relay(upstreams: list[Upstream], route_of: Callable[[Operation], Route | None]) -> Iterator[str]:
    """The URL of a relay that listens on a free port."""
    port = free_port()
    config = uvicorn.Config(Relay(upstreams, route_of).app, port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the relay did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)
