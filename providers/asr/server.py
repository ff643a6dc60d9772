"""A loaded `Recognizer` behind a port: the native engine of every slot of speech recognition."""

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from providers.asr.connection import Connection
from providers.asr.cutting import BlockCutter, Cutter
from providers.asr.live import LiveSession
from providers.asr.messages import LARGEST_MESSAGE, Start, TurnDetection
from providers.asr.options import AsrOptions
from providers.asr.paths import HEALTH_PATH, SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer
from providers.asr.session import FileSession, Listener, Session
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import VoiceDetector, detectors
from providers.asr.workers import Workers
from providers.base import Placement

logger = logging.getLogger("hal0.asr")

SPARE_SESSIONS = 4
"""More than are computed at once, for those that come while others are ending."""
STOP_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class _Loaded:
    recognizer: Recognizer
    detector: Callable[[], VoiceDetector]


class AsrServer:
    """`load` makes the model ready and may take minutes; it runs in a thread of its own. What it raises is told as the
    reason of a failed load. `sessions`: as many are computed at once, in a thread each."""

    def __init__(
        self, load: Callable[[], Recognizer], options: AsrOptions, placement: Placement, sessions: int
    ) -> None:
        self._load, self._options, self._placement, self._sessions = load, options, placement, sessions
        self._workers = Workers(sessions)
        self._loaded: _Loaded | None = None
        self._failure: str | None = None
        self._runner: web.AppRunner | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._ending = threading.Lock()
        self._ended = False
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and load in the background. Raises OSError if the port is taken."""
        app = web.Application(middlewares=[demanding(self._placement.token)])
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get(SESSION_PATH, self._session)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._placement.host, self._placement.port).start()
        self._workers.submit(self._load_all)

    async def stop(self) -> None:
        """Takes at most some seconds: a call of the library that does not return is left to itself, and with it the
        model."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        with self._ending:
            self._ended = True
            loaded, self._loaded = self._loaded, None
        for site in tuple(self._runner.sites) if self._runner else ():
            await site.stop()
        for connection in tuple(self._connections):
            await connection.hang_up("The model is being unloaded.")
        await self._workers.idle(STOP_TIMEOUT_S)
        await self._end_connections()
        # Ended sessions free their utterances: only after that may the model go.
        idle = await self._workers.idle(CLOSE_TIMEOUT_S)
        if self._runner is not None:
            await self._runner.cleanup()
        if not idle:
            logger.warning("what is being computed does not end; the model stays in memory until it does")
        elif loaded is not None:
            await self._workers.run(loaded.recognizer.close)
        self._workers.close(wait=idle)

    async def _end_connections(self) -> None:
        """Those whose clients do not read what they are told, and those that compute for ever."""
        serving = tuple(self._connections.values())
        if serving:
            _, late = await asyncio.wait(serving, timeout=CLOSE_TIMEOUT_S)
            for connection, task in tuple(self._connections.items()):
                connection.abort()
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _load_all(self) -> None:
        began = time.monotonic()
        try:
            loaded = _Loaded(self._load(), detectors(self._options.voice_detector))
        except Exception as error:
            self._fail(error)
            return
        try:
            silence = np.zeros(round(WARM_UP_S * SAMPLE_RATE), np.float32)
            for _ in loaded.recognizer.recognize(silence, Asked()):
                pass
        except Exception as error:
            loaded.recognizer.close()
            self._fail(error)
            return
        with self._ending:
            if not self._ended:
                self._loaded = loaded
                logger.info("loaded in %.1f s", time.monotonic() - began)
                return
        loaded.recognizer.close()

    def _fail(self, error: Exception) -> None:
        logger.error("the model does not load: %s", error, exc_info=error)
        self._failure = str(error) or type(error).__name__

    async def _health(self, request: web.Request) -> web.Response:
        if self._failure is not None:
            return refusal(500, self._failure)
        loaded = self._loaded is not None
        return web.json_response({"status": "ok" if loaded else "loading"}, status=200 if loaded else 503)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        loaded = self._loaded
        if self._failure is not None:
            return refusal(500, self._failure)
        if loaded is None:
            return refusal(503, "The model is being unloaded." if self._ended else "The model is still loading.")
        if len(self._connections) >= self._sessions + SPARE_SESSIONS:
            return refusal(503, f"The engine hears {len(self._connections)} sessions already.")
        # aiohttp refuses a message of exactly its limit.
        socket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, compress=False, max_msg_size=LARGEST_MESSAGE + 1)
        await socket.prepare(request)
        transport = request.transport
        connection = Connection(socket, transport, self._workers, lambda start, to: self._opened(loaded, start, to))
        self._connections[connection] = serving = asyncio.create_task(connection.serve())
        serving.add_done_callback(lambda _: self._connections.pop(connection))
        await serving
        return socket

    def _opened(self, loaded: _Loaded, start: Start, listener: Listener) -> Session:
        recognizer = loaded.recognizer
        if start.live:
            return LiveSession(recognizer, loaded.detector, start, self._options.partial_interval_s, listener)
        cutter: Cutter
        if start.turns is None and recognizer.cuts_itself:
            cutter = BlockCutter(recognizer.longest_piece_s)
        else:
            cutter = UtteranceCutter(loaded.detector(), start.turns or TurnDetection(), recognizer.longest_piece_s)
        return FileSession(recognizer, cutter, start.asked, listener)


def demanding(token: str) -> Middleware:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def authorized(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if request.path != HEALTH_PATH and not hmac.compare_digest(given, expected):
            return refusal(401, "A valid bearer token is needed.")
        return await handler(request)

    return authorized


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
