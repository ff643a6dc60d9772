"""What engines that speak OpenAI's dialect refuse alike, in the client's terms. Pure."""

import json

from pydantic import JsonValue

from providers.errors import EngineError


def error_field(body: bytes, *names: str) -> JsonValue:
    """What stands under the first of these names that says anything in an error's body; None if that is no object."""
    try:
        answer: JsonValue = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found: JsonValue = None
    if isinstance(answer, dict):
        for name in names:
            if found := answer.get(name):
                break
    return found


def too_long(message: str) -> EngineError:
    """The prompt is longer than the engine's context."""
    return EngineError(400, message, "exceed_context_size_error", "context_length_exceeded")


def key_refused() -> EngineError:
    return EngineError(502, "The engine refused this server's key.", "server_error", "engine_refused")


def unsupported(message: str) -> EngineError:
    return EngineError(501, message, "not_supported_error", "not_supported")


def rate_limited(message: str) -> EngineError:
    return EngineError(429, message, "rate_limit_error", "overloaded")
