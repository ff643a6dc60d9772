"""Serve as its own tutorials use it: a proxy, an ingress, and each request's body through a handle to an actor that
asks the engine. `peers.py` serves it, so that what hal0 does otherwise can be measured."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

MANY = 10_000
deployment: Any = serve.deployment
"""Ray's own types know only its use as a decorator."""


class Engine:
    """The actor of one engine."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    async def whole(self, path: str, body: bytes) -> bytes:
        async with self._client().post(self._url + path, data=body, headers=self._headers) as response:
            return await response.read()

    async def stream(self, path: str, body: bytes) -> AsyncIterator[bytes]:
        async with self._client().post(self._url + path, data=body, headers=self._headers) as response:
            async for piece in response.content.iter_any():
                yield piece

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session


class Ingress:
    def __init__(self, engines: Mapping[str, Any]) -> None:
        self._engines = dict(engines)

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"status": "ok"})
        body = await request.body()
        asked = json.loads(body)
        engine = self._engines[asked["model"]]
        if asked.get("stream"):
            pieces = engine.options(stream=True).stream.remote(request.url.path, body)
            return StreamingResponse(pieces, media_type="text/event-stream")
        return Response(await engine.whole.remote(request.url.path, body), media_type="application/json")


def build(args: Mapping[str, Any]) -> serve.Application:
    """`args["engines"]`: URL and key of each, by its name."""
    free = {"num_cpus": 0}
    engines = {
        name: deployment(Engine, name=name, ray_actor_options=free, max_ongoing_requests=MANY).bind(*where)
        for name, where in args["engines"].items()
    }
    ingress = deployment(Ingress, name="ingress", ray_actor_options=free, max_ongoing_requests=MANY)
    application: serve.Application = ingress.bind(engines)
    return application
