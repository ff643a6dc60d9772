"""The outermost layer: API key, access log, and one envelope for every error.

Request ids are Serve's: it takes the client's `x-request-id` or makes one, and sends it back with the answer.
"""

import logging
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from providers.errors import ProviderError
from serve_app.errors import BadRequest, ServingError, answer_for
from serve_app.http_io import ClientGone, send_answer
from serve_app.logs import FIELDS
from serve_app.paths import ANTHROPIC_PATHS
from serve_app.security import Door, Keys

access = logging.getLogger("hal0.access")
logger = logging.getLogger("hal0.edge")

SHOWN_ID = 128
CLIENT_CLOSED = 499
"""What the access log shows for a client that left; nginx's number for it."""


class Edge:
    """Wraps the application. Every exception becomes an answer, unless the answer has begun."""

    def __init__(self, app: ASGIApp, keys: Keys, door: Door) -> None:
        self._app, self._keys, self._door = app, keys, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:SHOWN_ID]
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
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
            await send_answer(send_and_note, answer_for(in_our_terms(error)), scope["path"] in ANTHROPIC_PATHS)
        finally:
            if access.isEnabledFor(logging.INFO):
                log_access(scope, request_id, status, time.perf_counter() - began)


def foreseen(error: Exception) -> bool:
    return isinstance(error, ServingError | ProviderError | HTTPException)


def in_our_terms(error: Exception) -> Exception:
    """Starlette's own errors are about the route."""
    if not isinstance(error, HTTPException):
        return error
    if error.status_code == 404:
        return BadRequest(404, "There is no such route. GET /v1/models lists models, GET /api/slots slots.", "no_route")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return BadRequest(405, f"This route does not take that method; allowed: {allowed}.", "method_not_allowed")
    return BadRequest(error.status_code, str(error.detail))


def log_access(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    record = {
        "request_id": request_id,
        "method": scope["method"],
        "path": scope["path"],
        "slot": scope.get("slot"),
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    access.info("request", extra={FIELDS: record})
