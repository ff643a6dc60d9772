"""The ingress's own HTTP server, for a Serve without proxies (`proxy_location: Disabled`).

A request then has one hop to its engine instead of two, and none of the accounting that Serve does for each request.
Ingress replicas on one node share the port (SO_REUSEPORT).
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from serve_app.http_protocol import EdgeProtocol
from serve_app.listen_options import ListenOptions

START_POLL_S = 0.005
BACKLOG = 4096


@asynccontextmanager
async def listening(app: ASGIApp, options: ListenOptions, drain_s: float) -> AsyncIterator[None]:
    """Answer while the context is open. At its end nothing new is accepted, and what is being answered has `drain_s`.
    Raises OSError if the port cannot be had."""
    server = _Server(_config(app, options, drain_s))
    serving = asyncio.create_task(server.serve(sockets=[bound(options.host, options.port)]))
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(START_POLL_S)
    try:
        yield
    finally:
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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
