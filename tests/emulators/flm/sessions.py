"""Connections: a request is read, waits for the NPU if it needs it, and is answered."""

import json
import socket
from http import HTTPStatus
from threading import Lock

from tests.emulators.flm import wire
from tests.emulators.flm.console import say, write
from tests.emulators.flm.handlers import Exchange, Handlers
from tests.emulators.flm.npu import QueueFull
from tests.emulators.flm.wire import Request

NEED_NPU = (
    "POST /api/generate",
    "POST /api/chat",
    "POST /v1/chat/completions",
    "POST /v1/audio/transcriptions",
    "POST /v1/embeddings",
)


class Sessions:
    def __init__(self, handlers: Handlers, cors: bool) -> None:
        self._handlers = handlers
        self._cors = cors
        self._lock = Lock()
        self.count = 0

    def begin(self) -> None:
        with self._lock:
            self.count += 1

    def _end(self) -> None:
        with self._lock:
            self.count -= 1

    def run(self, connection: socket.socket, remote: str) -> None:
        """One connection that has begun, to its end."""
        say("🔗 ", f"TCP connection established - Remote: {remote}")
        try:
            self._converse(connection)
        except OSError:
            # The client has left; there is nobody to tell.
            pass
        finally:
            self._end()
            wire.hang_up(connection)
            say("🔒 ", f"TCP connection closed - Remote: {remote}")

    def _converse(self, connection: socket.socket) -> None:
        try:
            request = wire.read(connection)
            if request is not None and request.method == "OPTIONS" and self._cors:
                say("✈️ ", "Handling Preflight (OPTIONS) request")
                wire.reply_to_preflight(connection)
                request = wire.read(connection)
        except wire.TooLarge:
            body = {"error": "Request payload too large", "max_bytes": wire.MAX_BODY_BYTES}
            wire.reply(connection, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, body)
            return
        if request is not None:
            self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        _log(request)
        is_json = bool(request.body) and wire.JSON in request.content_type
        if request.route not in self._handlers.routes:
            kind = wire.JSON if is_json else "multipart/form-data"
            wire.reply(connection, HTTPStatus.NOT_FOUND, {"error": "Not Found"}, kind)
            return
        if is_json and not _parses(request.body):
            wire.reply(connection, HTTPStatus.BAD_REQUEST, {"error": "Invalid JSON"})
            return
        if request.route in NEED_NPU:
            self._answer_by_npu(connection, request)
            return
        answer = self._handle(Exchange(connection, request))
        if answer is not None:
            wire.reply(connection, *answer)

    def _answer_by_npu(self, connection: socket.socket, request: Request) -> None:
        npu = self._handlers.npu
        try:
            npu.enter(request.route)
        except QueueFull:
            text = f"NPU is in use and request queue is full (limit: {npu.queue_limit}). Please try again later."
            wire.reply(connection, HTTPStatus.SERVICE_UNAVAILABLE, {"error": text})
            return
        try:
            answer = self._handle(Exchange(connection, request))
        finally:
            npu.leave()
        if answer is not None:
            wire.reply(connection, *answer)

    def _handle(self, exchange: Exchange) -> tuple[HTTPStatus, object] | None:
        """None if the answer has been streamed."""
        try:
            body = self._handlers.handle(exchange)
        except OSError:
            raise
        except Exception as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"Handler exception: {error}"}
        if exchange.stream.started:
            return None
        return (HTTPStatus.BAD_REQUEST if _is_bad_request(body) else HTTPStatus.OK), body


def _is_bad_request(body: object) -> bool:
    """The only error that is one by its status, too."""
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and error.get("code") == 400


def _parses(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _log(request: Request) -> None:
    write("=" * 48 + "\n")
    say("⬇️ ", f"Incoming Request: {request.method}")
    say("LOG", f"Target: {request.target}")
