"""The ingress's own HTTP server, for a Serve without proxies (`proxy_location: Disabled`).

A request then has one hop to its engine instead of two, and none of the accounting that Serve does for each request.
Ingress replicas on one node share the port (SO_REUSEPORT).
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from serve_app.http_protocol import EdgeProtocol
from serve_app.listen_options import ListenOptions
from serve_app.successor import until_another_listens

START_POLL_S = 0.005
LEAVE_POLL_S = 0.05
REPLACED_DRAIN_S = 600.0
"""How long one that is replaced has to end: the other one has to come, and its own answers to be over."""
SUCCESSOR_WAIT_S = 60.0
"""The part of it that is for the other one to come; meanwhile this one answers as ever."""
ACCEPTING_TURNS = 5
"""Of the loop, from a connection that is accepted to its protocol; two more than it takes."""
BACKLOG = 4096


async def _for_good() -> bool:
    return False


@asynccontextmanager
async def listening(
    app: ASGIApp, options: ListenOptions, drain_s: float, replaced: Callable[[], Awaitable[bool]] = _for_good
) -> AsyncIterator[None]:
    """Answer while the context is open. At its end nothing new is accepted, and what is being answered has `drain_s`.

    If it is `replaced`, another one answers who comes as soon as that listens, and there is no hurry: clients that were
    told that they may send further requests on their connections are answered once more. Raises OSError if the port
    cannot be had."""
    listener = bound(options.host, options.port)
    server = _Server(_config(app, options, drain_s), listener)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(START_POLL_S)
    try:
        yield
    finally:
        if await replaced():
            await until_another_listens(listener, SUCCESSOR_WAIT_S)
            await server.leave(REPLACED_DRAIN_S - SUCCESSOR_WAIT_S)
        server.should_exit = True
        await serving


def bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: ASGIApp, options: ListenOptions, drain_s: float) -> uvicorn.Config:
    # At any finer level uvicorn writes down every message of every request.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        http=EdgeProtocol,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=None,
        # `Door` trusts the address that a connection comes from, and no header.
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(options.keep_alive_timeout_s),
        timeout_graceful_shutdown=int(drain_s),
        ssl_keyfile=options.ssl_keyfile,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile_password=options.ssl_keyfile_password,
        ssl_ca_certs=options.ssl_ca_certs,
    )


class _Server(uvicorn.Server):
    """Signals are the replica's business."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener

    async def leave(self, drain_s: float) -> None:
        """Accept nobody, until all connections have ended, or `drain_s` is over."""
        await self._stop_listening()
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, EdgeProtocol):
                connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(LEAVE_POLL_S)

    async def _stop_listening(self) -> None:
        """Without losing anybody: those who wait to be accepted are reset with the socket, and asyncio forgets those
        whom it has accepted just before it closes: https://github.com/python/cpython/blob/3.11/Lib/asyncio/base_events.py,
        `Server._attach`."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        waiting = list(_accepted(self._listener))
        for server in self.servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> EdgeProtocol:
        return EdgeProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Those who wait, without waiting for more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield listener.accept()[0]
