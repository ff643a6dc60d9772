"""The servers of `benchmarks.hot_path`: `python -m benchmarks.hot_path_servers VARIANT PORT UPSTREAM_PORT`."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvloop
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from providers.base import Endpoint
from serve_app.access_log import AccessLog
from serve_app.application import Application
from serve_app.config import parse_config
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.engine_http import EngineHttp
from serve_app.granted import Granted
from serve_app.http_io import JSON_TYPE, send_whole
from serve_app.ingress import sound_session, write_lines
from serve_app.leases import LeasePool
from serve_app.listen_options import ListenOptions
from serve_app.listener import listening
from serve_app.logs import log_to
from serve_app.paths import POST_PATHS
from serve_app.patience import Patience
from serve_app.relay import Relay
from serve_app.security import Door, Keys

VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "server": "the HTTP server alone: an application that answers at once",
        "own": "the server, and the request passed on by our client",
        "aiohttp": "the same by aiohttp",
        "pyreqwest": "the same by pyreqwest",
        "httpx": "the same by httpx",
        "ingress": "the whole ingress, without access log",
        "logged": "the whole ingress",
    }
)
TOKEN, MANY = "token", 256

PassOn = Callable[[bytes], Awaitable[bytes]]


class Call:
    """A lease that never ends."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream

    async def __aiter__(self) -> AsyncIterator[Granted]:
        yield Granted("replica", Endpoint(f"http://127.0.0.1:{self._upstream}", TOKEN), MANY)
        await asyncio.Event().wait()

    @property
    def replica(self) -> str | None:
        return "replica"

    def let_go(self) -> None: ...

    def cancel(self) -> None: ...


def at_once() -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send_whole(send, 200, [JSON_TYPE], b"{}")

    return app


def passing_on(pass_on: PassOn) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await send_whole(send, 200, [JSON_TYPE], await pass_on(body))

    return app


def by_own_client(url: str) -> PassOn:
    engines = EngineHttp()

    async def pass_on(body: bytes) -> bytes:
        answer = await engines.request("POST", url, TOKEN, body)
        try:
            return await answer.read()
        finally:
            answer.release()

    return pass_on


HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def by_aiohttp(url: str) -> PassOn:
    session = sound_session()

    async def pass_on(body: bytes) -> bytes:
        async with session.post(url, data=body, headers=HEADERS) as answer:
            return await answer.read()

    return pass_on


def by_httpx(url: str) -> PassOn:
    import httpx

    client = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=MANY))

    async def pass_on(body: bytes) -> bytes:
        return (await client.post(url, content=body, headers=HEADERS)).content

    return pass_on


def by_pyreqwest(url: str) -> PassOn:
    # Not among our dependencies: measured where somebody has installed it.
    from pyreqwest.client import ClientBuilder  # type: ignore[import-not-found, unused-ignore]

    client = ClientBuilder().build()

    async def pass_on(body: bytes) -> bytes:
        request = client.post(url)
        for name, value in HEADERS.items():
            request = request.header(name, value)
        answer = await request.body_bytes(body).build().send()
        return bytes(await answer.bytes())

    return pass_on


CLIENTS: Mapping[str, Callable[[str], PassOn]] = {
    "own": by_own_client,
    "aiohttp": by_aiohttp,
    "pyreqwest": by_pyreqwest,
    "httpx": by_httpx,
}


@asynccontextmanager
async def ingress(upstream: int, logs: bool) -> AsyncIterator[ASGIApp]:
    slot = {"name": "chat", "provider": "llama.cpp", "model": "m.gguf", "capabilities": ["chat"]}
    config = parse_config({"slots": [slot | {"parallel_requests": MANY}]})
    pools = {one.name: LeasePool(one, lambda suspect: Call(upstream)) for one in config.slots}

    async def want(_: str) -> None: ...

    patience: Any = Patience(5.0, lambda name: {}, want)

    @asynccontextmanager
    async def routes() -> AsyncIterator[list[BaseRoute]]:
        engines, directory = EngineHttp(), SlotDirectory(config.slots)
        yield [
            Route(path, Relay(operation, directory, pools, engines, 2**26, patience), methods=["POST"])
            for path, operation in POST_PATHS.items()
        ]

    application = Application(routes)
    nobody = Keys(())
    access = AccessLog(write_lines) if logs else None
    async with application.lifespan():
        yield Edge(application, nobody, Door(nobody, False, frozenset()), access, makes_request_ids=True)


async def serve(variant: str, port: int, upstream: int) -> None:
    options = ListenOptions("127.0.0.1", port, 60)
    if variant in ("ingress", "logged"):
        async with ingress(upstream, variant == "logged") as edge, listening(edge, options, 1):
            await asyncio.Event().wait()
    url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
    app = at_once() if variant == "server" else passing_on(CLIENTS[variant](url))
    async with listening(app, options, 1):
        await asyncio.Event().wait()


def main() -> None:
    variant, port, upstream = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        log_to(Path(folder), "ingress")
        logging.getLogger("hal0").handlers.pop()
        uvloop.run(serve(variant, port, upstream))


if __name__ == "__main__":
    main()
