"""FastFlowLM's errors in OpenAI's terms.

Most come with status 200, as `{"error": "text"}` or `{"error": {"message", "type", "code": <integer>}}`, and a model
that is not served is a bare `null`: https://github.com/ROCm/FastFlowLM/blob/main/src/server/rest_handler.cpp
"""

import json
import re
from dataclasses import dataclass

from pydantic import JsonValue

from providers.errors import EngineError
from providers.native.errors import engine_error
from providers.openai.engine_errors import unsupported

_UNNAMED = "The engine failed without saying why."


@dataclass(frozen=True, slots=True)
class _Known:
    """An error known by the engine's message. `advice` replaces a message that would not help."""

    pattern: re.Pattern[str]
    status: int
    type: str
    code: str
    param: str | None = None
    advice: str | None = None


_KNOWN = (
    _Known(
        re.compile(r"max length reached", re.IGNORECASE),
        400,
        "exceed_context_size_error",
        "context_length_exceeded",
        "messages",
        "The messages are longer than the slot's context_size: send fewer or shorter ones.",
    ),
    _Known(re.compile(r"queue is full"), 503, "server_error", "overloaded"),
    _Known(re.compile(r"^Failed to load\b|model is not available$"), 503, "server_error", "model_not_loaded"),
    _Known(re.compile(r"json\.exception|^Invalid JSON"), 400, "invalid_request_error", "invalid_value"),
)
_LIBRARY_PREFIX = re.compile(r"(Handler exception: )?\[json\.exception\.[\w.]+\] ")


def fault(status: int, body: bytes) -> EngineError | None:
    """What an answer with this status and body means; None if it is no error. `body` is whole, and no stream's."""
    try:
        answer: JsonValue = json.loads(body)
    except (ValueError, RecursionError):
        return refused(status, body.decode(errors="replace").strip()[:500])
    if isinstance(answer, dict) and answer.get("error") is not None:
        return refused(status, answer["error"])
    if answer is None:
        message = "The engine has not loaded the model that this needs."
        return EngineError(503, message, "server_error", "model_not_loaded")
    return refused(status, "") if status >= 400 else None


def refused(status: int, error: JsonValue) -> EngineError:
    """The client's error for what FLM has under `error`, with a status or, with 200, in the middle of a stream."""
    fields = error if isinstance(error, dict) else {"message": error}
    told = fields.get("message")
    message = told if isinstance(told, str) and told else _UNNAMED
    for known in _KNOWN:
        if known.pattern.search(message):
            shown = known.advice or _LIBRARY_PREFIX.sub("", message)
            return EngineError(known.status, shown, known.type, known.code, known.param)
    if status == 413:
        return EngineError(413, "The request is larger than 256 MiB.", "invalid_request_error", "request_too_large")
    if status in (404, 405):
        return unsupported(f"The engine has no such route: {message}")
    if 400 <= status < 500 or fields.get("code") == 400:
        return EngineError(400, message, "invalid_request_error", "invalid_value")
    return EngineError(status if status >= 500 else 500, message, "server_error", "engine_error")


def unreadable() -> EngineError:
    """For an answer that is neither FLM's nor an error."""
    return EngineError(502, "The engine's answer cannot be read.", "server_error", "engine_error")


def relayed(status: int, body: bytes) -> EngineError:
    """A route's `error`: what the front says, which has FLM's in OpenAI's terms already, its type included."""
    error = engine_error(status, body)
    try:
        kind = json.loads(body)["error"]["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return error
    return EngineError(status, error.message, kind if isinstance(kind, str) else error.type, error.code, error.param)
