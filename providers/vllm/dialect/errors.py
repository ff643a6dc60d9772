"""vLLM's errors in OpenAI's terms. Most have the right status; `code` is that status again, and the words are of its
insides. Source: vllm/entrypoints/serve/exception_handling of vLLM 0.32."""

import json
import re
from dataclasses import dataclass

from pydantic import JsonValue

from providers.base import JsonObject
from providers.errors import EngineError
from providers.openai.engine_errors import error_field, key_refused, rate_limited, too_long, unsupported


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A client's mistake, known by the engine's message."""

    pattern: re.Pattern[str]
    param: str | None
    code: str


def _mistake(pattern: str, param: str | None, code: str = "invalid_value") -> _Mistake:
    return _Mistake(re.compile(pattern), param, code)


_MISTAKES = (
    _mistake(r"is not a multimodal model", "messages", "unsupported_content"),
    _mistake(r"^At most \d+ \w+\(s\) may be provided", "messages", "unsupported_content"),
    _mistake(
        r"(cannot|failed to|Failed to) (identify|load|fetch|decode) image|Invalid base64", "messages", "invalid_image"
    ),
    _mistake(r"TextEncodeInput must be|chat template|empty conversation", "messages"),
    _mistake(r"^Grammar error|json_schema|regex|structured output", "response_format"),
    _mistake(r"out of vocabulary", "prompt"),
)
_TOO_LONG = re.compile(
    r"maximum context length|exceeds the max_model_len|longer than the maximum model length|prompt length \d+ exceeds"
)
_DEAD = re.compile(r"^EngineCore encountered an issue|Engine ?[Cc]ore.*(died|dead|shut down)")
_DETAILS = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
_VALIDATION = re.compile(r"'loc': '(?:body\.)?(?P<loc>[^']*)', 'msg': (?P<quote>['\"])(?P<msg>.*?)(?P=quote)")


def engine_error(status: int, body: bytes) -> EngineError:
    """The client's error for an engine's answer that is not 2xx."""
    message, param = _said(status, body)
    return _as_clients(status, message, param)


def streamed_error(error: JsonValue) -> JsonObject:
    """An error that comes in the middle of a stream, in OpenAI's envelope."""
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    mended = engine_error(code if isinstance(code, int) else 500, json.dumps({"error": error}).encode())
    return {"message": mended.message, "type": mended.type, "param": mended.param, "code": mended.code}


def _as_clients(status: int, message: str, param: str | None) -> EngineError:
    if _TOO_LONG.search(message):
        return too_long(message)
    if _DEAD.search(message):
        return EngineError(502, "The engine died while it computed the answer.", "server_error", "engine_died")
    match status:
        case 401 | 403:
            return key_refused()
        case 404 | 405:
            return unsupported(f"The engine has no such route or model: {message}")
        case 501:
            return unsupported(message)
        case 503:
            return EngineError(503, message, "server_error", "overloaded")
        case 429:
            return rate_limited(message)
        case _ if 400 <= status < 500:
            return _mistaken(status, message, param)
        case _:
            return EngineError(status if status >= 500 else 502, message, "server_error", "engine_error")


def _mistaken(status: int, message: str, param: str | None) -> EngineError:
    found = next((one for one in _MISTAKES if one.pattern.search(message)), None)
    code = found.code if found else "invalid_value" if param else None
    named = (found.param if found else None) or param
    return EngineError(400 if status == 422 else status, message, "invalid_request_error", code, named)


def _said(status: int, body: bytes) -> tuple[str, str | None]:
    """Message and field. Errors of Anthropic's routes have no field."""
    error = error_field(body, "error", "message", "detail")
    if not isinstance(error, dict):
        return str(error or body.decode(errors="replace").strip()[:500] or f"HTTP {status}"), None
    message, param = str(error.get("message") or f"HTTP {status}"), error.get("param")
    if (invalid := _VALIDATION.search(message)) is not None:
        loc, complaint = invalid["loc"], invalid["msg"].removeprefix("Value error, ")
        return (f"Invalid '{loc}': {complaint}" if loc else complaint), loc or None
    return _DETAILS.sub("", message), param.removeprefix("body.") if isinstance(param, str) and param else None
