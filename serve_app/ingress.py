"""The ingress deployment: the HTTP application in front of all slots."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ray
from ray import serve
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from providers.devices import Device
from providers.spec import SlotSpec
from serve_app.admin import Admin
from serve_app.board import Traffic
from serve_app.config import parse_config
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.leases import LeasePool
from serve_app.logs import log_to
from serve_app.nodes import NodeView
from serve_app.paths import GET_PATHS, POST_PATHS
from serve_app.placement import advice_if_unplaceable, claim_of
from serve_app.relay import Relay
from serve_app.replica_watch import watch_replicas
from serve_app.security import Door, load_keys
from serve_app.settings import load_settings
from serve_app.slot import rank_of

SWEEP_S = 0.25
TELL_ALL_S = 5.0
CONNECT_TIMEOUT_S = 5.0
ENGINE_KEEPALIVE_S = 3.0
"""Below the 5 s after which llama.cpp's HTTP server closes an idle connection, so that we never send into a close."""


class IngressDeployment:
    """Serve calls `__serve_build_asgi_app__` for the application. Everything else lives as long as that."""

    def __init__(
        self, args: Mapping[str, Any], devices: Mapping[str, str], board: Any, handles: Mapping[str, Any]
    ) -> None:
        self._config = parse_config(args)
        self._devices = {name: Device(device) for name, device in devices.items()}
        self._board, self._handles = board, handles
        context = serve.get_replica_context()
        self._id = context.replica_id.unique_id
        log_to(load_settings().logs_dir, f"ingress-{rank_of(context)}")
        self._nodes = NodeView()
        if not self._config.ingress.access_log:
            logging.getLogger("hal0.access").setLevel(logging.WARNING)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        keys = load_keys(self._config, load_settings())
        own_addresses = frozenset({str(ray.util.get_node_ip_address())})  # type: ignore[no-untyped-call]
        return Edge(_Application(self._open), keys, Door(keys, self._config.ingress.allow_open, own_addresses))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[list[BaseRoute]]:
        """Everything that lives on the event loop of the requests."""
        pools = {slot.name: self._pool(slot) for slot in self._config.slots}
        stop_watching = self._watch(pools)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=ENGINE_KEEPALIVE_S)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        upkeep = asyncio.create_task(self._upkeep(pools))
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        ) as http:
            try:
                yield self._routes(pools, http)
            finally:
                upkeep.cancel()
                for stop in stop_watching:
                    stop()
                await asyncio.gather(*(pool.close() for pool in pools.values()))

    def _routes(self, pools: dict[str, LeasePool], http: aiohttp.ClientSession) -> list[BaseRoute]:
        directory = SlotDirectory(self._config.slots)
        limit = int(self._config.ingress.max_body_mib * 2**20)
        admin = Admin(self._board.records.remote, int(time.time()))
        relays = [(path, op, "POST") for path, op in POST_PATHS.items()]
        relays += [(path, op, "GET") for path, op in GET_PATHS.items()]
        return [
            *(Route(path, Relay(op, directory, pools, http, limit), methods=[verb]) for path, op, verb in relays),
            Route("/v1/models", admin.models),
            Route("/models", admin.models),
            Route("/v1/models/{name:path}", admin.model),
            Route("/health", admin.health),
            Route("/v1/health", admin.health),
            Route("/api/slots", admin.slots),
            Route("/api/slots/{name}", admin.slot),
        ]

    def _pool(self, slot: SlotSpec) -> LeasePool:
        handle = self._handles[slot.name].options(stream=True)
        return LeasePool(slot, lambda: handle.lease.remote(self._id), self._advice)

    async def _advice(self, slot: SlotSpec) -> str | None:
        return advice_if_unplaceable(claim_of(slot, self._devices[slot.name]), await self._nodes.nodes())

    def _watch(self, pools: Mapping[str, LeasePool]) -> list[Callable[[], None]]:
        """Serve's router runs on a thread of its own; the pools live on this loop."""
        loop = asyncio.get_running_loop()

        def listener(pool: LeasePool) -> Callable[[frozenset[str]], None]:
            def changed(running: frozenset[str]) -> None:
                with contextlib.suppress(RuntimeError):  # the loop closes before the router at shutdown
                    loop.call_soon_threadsafe(pool.replicas_changed, running)

            return changed

        return [watch_replicas(name, listener(pool)) for name, pool in pools.items()]

    async def _upkeep(self, pools: Mapping[str, LeasePool]) -> None:
        """Give back unused leases; tell the board what has changed, and everything now and then."""
        reported: dict[str, Traffic] = {}
        told_all = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for pool in pools.values():
                pool.sweep(now)
            if now - told_all >= TELL_ALL_S:
                reported, told_all = {}, now
            traffic = {name: pool.traffic for name, pool in pools.items()}
            changed = {name: report for name, report in traffic.items() if reported.get(name) != report}
            if changed:
                with contextlib.suppress(Exception):
                    await self._board.traffic.remote(self._id, changed)
                    reported |= changed


class _Application:
    """A Starlette application whose routes exist once its lifespan has begun."""

    def __init__(self, open_routes: Callable[[], Any]) -> None:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with open_routes() as routes:
                app.router.routes.extend(routes)
                yield

        self._starlette = Starlette(lifespan=lifespan)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._starlette(scope, receive, send)
            return
        # Past Starlette's own error layers: the edge has the one translation of errors.
        scope["app"] = self._starlette
        await self._starlette.router(scope, receive, send)
