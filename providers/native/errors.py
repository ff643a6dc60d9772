"""What an engine of ours says when it refuses or fails. Pure."""

import json

from providers.errors import EngineError


def engine_error(status: int, body: bytes) -> EngineError:
    """A route's `error`: of `{"error": {"message", "code", "param"}}`, or of whatever answers in the engine's place."""
    message, code, param = f"The engine answered {status}.", None, None
    try:
        error = json.loads(body)["error"]
        if isinstance(error, dict):
            message, code, param = _text(error.get("message")) or message, _text(error.get("code")), error.get("param")
        else:
            message = _text(error) or message
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    kind = "invalid_request_error" if status < 500 else "server_error"
    return EngineError(status, message, kind, code, _text(param))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
