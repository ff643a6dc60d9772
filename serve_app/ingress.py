"""The ingress deployment: the HTTP application in front of all slots."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ray
from ray import serve
from ray.serve.schema import ApplicationStatus
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from providers.spec import SlotSpec
from serve_app.access_log import AccessLog
from serve_app.admin import Admin
from serve_app.application import Application
from serve_app.audio.routes import audio_routes
from serve_app.config import parse_config
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.engine_http import CONNECT_TIMEOUT_S, KEEPALIVE_S, EngineHttp
from serve_app.feed import Feed, View
from serve_app.lease_call import RoutedCall
from serve_app.leases import LeasePool
from serve_app.listen_options import ListenOptions
from serve_app.listener import listening
from serve_app.logs import READY_LINES, log_to
from serve_app.node_logs import NodeLogs
from serve_app.paths import GET_PATHS, POST_PATHS
from serve_app.patience import Patience
from serve_app.refusal import refusal
from serve_app.relay import Relay
from serve_app.replica_watch import watch_replicas
from serve_app.security import Door, load_keys
from serve_app.settings import load_settings
from serve_app.silence import socket_for
from serve_app.slot import rank_of
from serve_app.slots_api import BoardHandle, SlotsApi
from serve_app.traffic import TrafficReporter

STATUS_WAIT_S = 2.0
INGRESS_DRAIN_S = 10.0
"""How long answers have to end when the ingress is to stop."""


class IngressDeployment:
    """Serve calls `__serve_build_asgi_app__` for the application. Everything else lives as long as that."""

    def __init__(
        self, args: Mapping[str, Any], board: Any, handles: Mapping[str, Any], own_http: ListenOptions | None
    ) -> None:
        self._config = parse_config(args)
        self._board, self._handles, self._own_http = board, handles, own_http
        context = serve.get_replica_context()
        self._id, self._application = context.replica_id.unique_id, context.app_name
        self._node = ray.get_runtime_context().get_node_id()
        log_to(load_settings().logs_dir, f"ingress-{rank_of(context)}")
        self._access = AccessLog(write_lines) if self._config.ingress.access_log else None

    def __serve_build_asgi_app__(self) -> ASGIApp:
        keys = load_keys(self._config, load_settings())
        own_addresses = frozenset({str(ray.util.get_node_ip_address())})  # type: ignore[no-untyped-call]
        door = Door(keys, self._config.ingress.allow_open, own_addresses)
        application = Application(self._open)
        edge = Edge(application, keys, door, self._access, makes_request_ids=self._own_http is not None)
        if (options := self._own_http) is not None:
            application.while_open(lambda: listening(edge, options, INGRESS_DRAIN_S, self._is_replaced))
        return edge

    async def _is_replaced(self) -> bool:
        """Whether it stops for a new one, or for fewer, and not with all of the application."""
        try:
            async with asyncio.timeout(STATUS_WAIT_S):
                status = await asyncio.to_thread(serve.status)
        except Exception:
            return False  # Serve is stopping
        here = status.applications.get(self._application)
        return here is not None and here.status is not ApplicationStatus.DELETING

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[list[BaseRoute]]:
        """Everything that lives on the event loop of the requests."""
        # What has been imported lives for ever, and while it is looked through for garbage no request is answered.
        gc.freeze()
        reporter = TrafficReporter(lambda report: self._board.traffic.remote(self._id, report))
        pools = {slot.name: self._pool(slot, reporter.wake) for slot in self._config.slots}
        board = BoardHandle(self._board)
        feed = Feed(board.events_after, lambda view: _heed(view, pools))
        stop_watching = self._watch(pools)
        tasks = [asyncio.create_task(reporter.run(pools)), asyncio.create_task(feed.run())]
        engines = EngineHttp()
        async with sound_session() as http:
            try:
                patience = Patience(self._config.ingress.keep_alive_s, feed.view, board.want)
                directory = SlotDirectory(self._config.slots)
                yield [
                    *self._relays(directory, pools, engines, patience),
                    *audio_routes(directory, pools, http, patience, self._config.ingress, load_settings()),
                    *self._own_routes(board),
                ]
            finally:
                engines.close()
                if self._access is not None:
                    self._access.flush()
                for task in tasks:
                    task.cancel()
                for stop in stop_watching:
                    stop()
                await asyncio.gather(*(pool.close() for pool in pools.values()))

    def _relays(
        self, directory: SlotDirectory, pools: dict[str, LeasePool], engines: EngineHttp, patience: Patience
    ) -> Iterator[BaseRoute]:
        limit, time_s = int(self._config.ingress.max_body_mib * 2**20), self._config.ingress.upload_timeout_s
        for paths, verb in ((POST_PATHS, "POST"), (GET_PATHS, "GET")):
            for path, operation in paths.items():
                yield Route(path, Relay(operation, directory, pools, engines, limit, patience, time_s), methods=[verb])

    def _own_routes(self, board: BoardHandle) -> list[BaseRoute]:
        admin = Admin(board.records, int(time.time()))
        names = tuple(slot.name for slot in self._config.slots)
        slots = SlotsApi(board, names, NodeLogs(self._node, load_settings().logs_dir))
        return [
            Route("/v1/models", admin.models),
            Route("/models", admin.models),
            Route("/v1/models/{name:path}", admin.model),
            Route("/health", admin.health),
            Route("/v1/health", admin.health),
            Route("/api/slots", slots.slots),
            Route("/api/slots/events", AsgiEndpoint(slots.events), methods=["GET"]),
            Route("/api/slots/{name}", slots.slot),
            Route("/api/slots/{name}/logs", AsgiEndpoint(slots.logs), methods=["GET"]),
            Route("/api/slots/{name}/load", slots.load, methods=["POST"]),
            Route("/api/slots/{name}/unload", slots.unload, methods=["POST"]),
            Route("/api/slots/{name}/pin", slots.pin, methods=["POST"]),
            Route("/api/slots/{name}/unpin", slots.unpin, methods=["POST"]),
        ]

    def _pool(self, slot: SlotSpec, changed: Callable[[], None]) -> LeasePool:
        handle = self._handles[slot.name].options(stream=True)
        return LeasePool(slot, lambda suspect: RoutedCall(slot.name, handle, self._id, suspect, self._node), changed)

    def _watch(self, pools: Mapping[str, LeasePool]) -> list[Callable[[], None]]:
        """Serve's router runs on a thread of its own; the pools live on this loop."""
        loop = asyncio.get_running_loop()

        def listener(pool: LeasePool) -> Callable[[frozenset[str]], None]:
            def changed(running: frozenset[str]) -> None:
                with contextlib.suppress(RuntimeError):  # the loop closes before the router at shutdown
                    loop.call_soon_threadsafe(pool.replicas_changed, running)

            return changed

        return [watch_replicas(name, listener(pool)) for name, pool in pools.items()]


def write_lines(lines: str) -> None:
    """Into the ingress's own log."""
    logging.getLogger("hal0.access").info("", extra={READY_LINES: lines})


def sound_session() -> aiohttp.ClientSession:
    """For uploads to engines and WebSockets with them."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, socket_factory=socket_for),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
    )


def _heed(view: View, pools: Mapping[str, LeasePool]) -> None:
    """What an event of the board means for the requests of its slot."""
    pool = pools[view["name"]]
    pool.hold(view["yielding"])
    pool.refuse(lambda: refusal(view, time.time()))


class AsgiEndpoint:
    """Starlette takes a function for one of its own endpoints, and an object for an ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
