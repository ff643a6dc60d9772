"""The outermost layer: API key, access log, and one envelope for every error.

Request ids are Serve's where it has proxies: it takes the client's `x-request-id` or makes one, and sends it back with
the answer. Without proxies that is done here.
"""

import contextlib
import itertools
import logging
import os
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from providers.errors import ProviderError
from serve_app.access_log import AccessLog
from serve_app.errors import Answer, BadRequest, MethodNotAllowed, ServingError, answer_for
from serve_app.http_io import ClientGone, send_answer
from serve_app.paths import ANTHROPIC_PATHS
from serve_app.security import Door, Keys

logger = logging.getLogger("hal0.edge")

REQUEST_ID = b"x-request-id"
SHOWN_ID = 128
CLIENT_CLOSED = 499
"""What the access log shows for a client that left; nginx's number for it."""
SWITCHED = 101
REFUSAL = "websocket.http.response"
"""An extension of ASGI: https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response"""
POLICY_VIOLATION, INTERNAL_ERROR = 1008, 1011
NO_ROUTE = BadRequest(404, "There is no such route. GET /v1/models lists models, GET /api/slots slots.", "no_route")


class Edge:
    """Wraps the application. Every exception becomes an answer, unless the answer has begun."""

    def __init__(
        self, app: ASGIApp, keys: Keys, door: Door, access: AccessLog | None = None, makes_request_ids: bool = False
    ) -> None:
        self._app, self._keys, self._door, self._access = app, keys, door, access
        self._makes_ids = makes_request_ids
        self._id_prefix, self._numbers = os.urandom(8).hex(), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._request(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = self._id_of(headers)
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._makes_ids:
                    message["headers"] = [*message["headers"], (REQUEST_ID, request_id.encode("latin-1"))]
            await send(message)

        try:
            self._door.check(scope.get("client"))
            self._keys.check(scope["path"], headers)
            await self._app(scope, receive, send_and_note)
        except ClientGone:
            status = status or CLIENT_CLOSED
        except Exception as error:
            if not foreseen(error):
                logger.exception("request %s failed", request_id)
            if status:
                raise  # the answer has begun: only a broken connection tells the client
            await send_answer(send_and_note, answer_for(in_our_terms(error, scope)), scope["path"] in ANTHROPIC_PATHS)
        finally:
            if self._access is not None:
                self._access.note(scope, scope["method"], request_id, status, time.perf_counter() - began)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A session is one line of the access log. What is wrong before it is accepted is answered as HTTP."""
        began = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = self._id_of(headers)
        handshake = Handshake(scope, send)
        try:
            self._door.check(scope.get("client"))
            self._door.check_page(headers.get("origin"))
            self._keys.check(scope["path"], headers, scope.get("subprotocols", ()))
            await self._app(scope, receive, handshake.send)
        except ClientGone:
            pass
        except Exception as error:
            if not foreseen(error):
                logger.exception("session %s failed", request_id)
            await handshake.fail(answer_for(in_our_terms(error, scope)))
        finally:
            if self._access is not None:
                seconds = time.perf_counter() - began
                self._access.note(scope, "WS", request_id, handshake.status or CLIENT_CLOSED, seconds)

    def _id_of(self, headers: Headers) -> str:
        """The client's own, or a new one."""
        return headers.get("x-request-id", "")[:SHOWN_ID] or (
            f"{self._id_prefix}{next(self._numbers):016x}" if self._makes_ids else ""
        )


class Handshake:
    """Of a WebSocket, as an application answers it. `status` is 0 until it has."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._can_refuse, self._send = REFUSAL in (scope.get("extensions") or {}), send
        self.status = 0

    async def send(self, message: Message) -> None:
        """For the application. Starlette's router closes what it has no route for before it is accepted."""
        if message["type"] == "websocket.accept":
            self.status = SWITCHED
        elif message["type"] == "websocket.close" and not self.status:
            return await self.fail(answer_for(NO_ROUTE))
        await self._send(message)

    async def fail(self, answer: Answer) -> None:
        """A refusal in the envelope of errors if the server can; without, a client gets no more than 403."""
        if self.status != SWITCHED:
            self.status = answer.status
            if self._can_refuse:
                return await send_answer(self._send_refusal, answer, anthropic=False)
        code = POLICY_VIOLATION if answer.status < 500 else INTERNAL_ERROR
        with contextlib.suppress(OSError):  # the client has left
            await self._send({"type": "websocket.close", "code": code, "reason": ""})

    async def _send_refusal(self, message: Message) -> None:
        await self._send({**message, "type": f"websocket.{message['type']}"})


def foreseen(error: Exception) -> bool:
    return isinstance(error, ServingError | ProviderError | HTTPException)


def in_our_terms(error: Exception, scope: Scope) -> Exception:
    """Starlette's own errors are about the route."""
    if not isinstance(error, HTTPException):
        return error
    if error.status_code == 404:
        return NO_ROUTE
    if error.status_code == 405:
        return MethodNotAllowed(methods_of(scope))
    return BadRequest(error.status_code, str(error.detail))


def methods_of(scope: Scope) -> tuple[str, ...]:
    """All that the path takes. Starlette tells of the first route alone, and a path may have one for each method."""
    routes = (route for route in scope["router"].routes if isinstance(route, Route))
    fitting = (route for route in routes if route.matches(scope)[0] is not Match.NONE)
    return tuple(sorted({method for route in fitting for method in route.methods or ()}))
