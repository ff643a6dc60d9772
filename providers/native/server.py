"""A model behind a port: what every native engine of ours does, whatever it computes."""

import asyncio
import hmac
import logging
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import ClassVar, Generic, Protocol, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from providers.base import Placement
from providers.errors import ProviderError
from providers.health import HEALTH_PATH
from providers.native.workers import Workers

STOP_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
ACCEPTING_TURNS = 5
"""Of the loop, from a connection that is accepted to its handler; two more than it takes."""


class Model(Protocol):
    def close(self) -> None: ...


class Visit(Protocol):
    """A client that is being answered."""

    async def hang_up(self, reason: str) -> None:
        """Say why, and end after what is being computed."""

    def abort(self) -> None:
        """Break the connection. Whoever does not read would keep a closed one with what it has not read."""


M = TypeVar("M", bound=Model)


class NativeServer(ABC, Generic[M]):
    """`load` makes the model ready and may take minutes; it runs in a thread. What it raises is told as the reason of a
    failed load. `threads`: as many computations run at once."""

    name: ClassVar[str]
    """Of its log and its threads."""
    method: ClassVar[str]
    path: ClassVar[str]
    further: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Methods and paths beside the first."""
    largest_body: ClassVar[int] = 1024**2
    """Bytes."""

    def __init__(self, load: Callable[[], M], placement: Placement, threads: int) -> None:
        self._load, self._placement = load, placement
        self.log = logging.getLogger(f"hal0.{self.name}")
        self.workers = Workers(threads, self.name)
        self.visits: dict[Visit, asyncio.Task[None]] = {}
        self._model: M | None = None
        self._failure: str | None = None
        self._runner: web.AppRunner | None = None
        self._port: socket.socket | None = None
        self._ending = threading.Lock()
        self._ended = False
        self._stopping: asyncio.Task[None] | None = None

    @abstractmethod
    async def answer(self, request: web.Request, model: M) -> web.StreamResponse:
        """What comes to a path of its own, its token checked, while the model is loaded."""

    async def attend(self, visit: Visit, work: Coroutine[object, object, None]) -> None:
        """Do what a visit came for; stopping the server ends it."""
        self.visits[visit] = task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self.visits.pop(visit))
        await task

    async def start(self) -> None:
        """Listen, and load in the background. Raises OSError if the port is taken."""
        app = web.Application(middlewares=[demanding(self._placement.token)], client_max_size=self.largest_body)
        app.router.add_get(HEALTH_PATH, self._health)
        for method, path in ((self.method, self.path), *self.further):
            app.router.add_route(method, path, self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)
        await self._runner.setup()
        family = socket.AF_INET6 if ":" in self._placement.host else socket.AF_INET
        self._port = socket.create_server((self._placement.host, self._placement.port), family=family)
        await web.SockSite(self._runner, self._port).start()
        self.workers.submit(self._load_model)

    async def stop(self) -> None:
        """Takes at most some seconds: a call of the library that does not return is left to itself, and with it the
        model."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        with self._ending:
            self._ended = True
            model, self._model = self._model, None
        await self._stop_listening()
        for visit in tuple(self.visits):
            await visit.hang_up("The model is being unloaded.")
        await self.workers.idle(STOP_TIMEOUT_S)
        await self._end_visits()
        # Visits free what they hold of the model as they end: only after that may it go.
        idle = await self.workers.idle(CLOSE_TIMEOUT_S)
        if self._runner is not None:
            await self._runner.cleanup()
        if not idle:
            self.log.warning("what is being computed does not end; the model stays in memory until it does")
        elif model is not None:
            await self.workers.run(model.close)
        self.workers.close(wait=idle)

    async def _stop_listening(self) -> None:
        """Who has been accepted is answered or closed: a server that closes before that forgets its connection open.

        https://github.com/python/cpython/blob/3.11/Lib/asyncio/base_events.py, `Server._attach`
        """
        if self._port is not None:
            asyncio.get_running_loop().remove_reader(self._port.fileno())
            for _ in range(ACCEPTING_TURNS):
                await asyncio.sleep(0)
        for site in tuple(self._runner.sites) if self._runner else ():
            await site.stop()

    async def _end_visits(self) -> None:
        """Those whose clients do not read what they are told, and those that compute for ever."""
        serving = tuple(self.visits.values())
        if serving:
            _, late = await asyncio.wait(serving, timeout=CLOSE_TIMEOUT_S)
            for visit, task in tuple(self.visits.items()):
                visit.abort()
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _load_model(self) -> None:
        began = time.monotonic()
        try:
            model = self._load()
        except Exception as error:
            # What a provider says itself is for people, who see the last lines of this log.
            trace = None if isinstance(error, ProviderError) else error
            self.log.error("the model does not load: %s", error, exc_info=trace)
            self._failure = str(error) or type(error).__name__
            return
        with self._ending:
            if not self._ended:
                self._model = model
                self.log.info("loaded in %.1f s", time.monotonic() - began)
                return
        model.close()

    async def _health(self, request: web.Request) -> web.Response:
        if self._failure is not None:
            return refusal(500, self._failure)
        loaded = self._model is not None
        return web.json_response({"status": "ok" if loaded else "loading"}, status=200 if loaded else 503)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._failure is not None:
            return refusal(500, self._failure)
        if self._ended:
            return sent_away(request)
        if self._model is None:
            return refusal(503, "The model is still loading.")
        return await self.answer(request, self._model)


def demanding(token: str) -> Middleware:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def authorized(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if request.path != HEALTH_PATH and not hmac.compare_digest(given, expected):
            return refusal(401, "A valid bearer token is needed.")
        return await handler(request)

    return authorized


def sent_away(request: web.Request) -> web.Response:
    """By a broken connection, without a word of an answer: whoever asks may try another engine."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def refusal(status: int, message: str, code: str | None = None, param: str | None = None) -> web.Response:
    error = {"message": message, "code": code, "param": param}
    return web.json_response({"error": {name: value for name, value in error.items() if value}}, status=status)
