"""llama.cpp's errors in OpenAI's terms.

llama-server answers `{"error": {"code": <integer>, "message", "type"}}`, and 500 for much that the client can mend:
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

import re
from dataclasses import dataclass

from providers.errors import EngineError
from providers.openai.engine_errors import error_field, key_refused, rate_limited, too_long, unsupported


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A client's mistake, known by the engine's message. `advice` replaces a message that would not help."""

    pattern: re.Pattern[str]
    param: str | None
    code: str | None = None
    advice: str | None = None


def _mistake(pattern: str, param: str | None, code: str | None = None, advice: str | None = None) -> _Mistake:
    return _Mistake(re.compile(pattern), param, code, advice)


_MISTAKES = (
    _mistake(r"^Failed to parse messages", "messages", "invalid_value"),
    _mistake(r"^Failed to parse tools", "tools", "invalid_value"),
    _mistake(r"^Failed to parse tool call arguments", "messages", "invalid_value"),
    _mistake(r"^(image|audio|video) input is not supported", "messages", "unsupported_content"),
    _mistake(r"^Invalid base64 value", "messages", "invalid_image", "A picture's URL is neither a URL nor base64."),
    _mistake(r"^Invalid url|^Failed to load (image|audio|video)|URLs are not allowed", "messages", "invalid_image"),
    _mistake(
        r"cannot make GET request|^failed to download|^(could|can)not (fetch|download)",
        "messages",
        "image_unreachable",
        "A picture's URL could not be fetched. Send the picture as a data: URL instead.",
    ),
    _mistake(r"vector::_M_range_check", "tokens", "invalid_value", "A token is not in the model's vocabulary."),
    _mistake(r"vector::_M_default_append", "top_n", "invalid_value", "'top_n' is out of range."),
    _mistake(r"^Jinja Exception|chat template", "messages", "invalid_value"),
    _mistake(r"^Unable to generate parser|^Cannot use |^JSON schema|failed to parse grammar", None, "invalid_value"),
    _mistake(r"json\.exception", None, "invalid_value"),
)
_TOO_LONG = re.compile(r"is too large to process|exceeds the available context size")
_NO_LOGITS = re.compile(r"does not support logits computation")
_NAMED_FIELD = re.compile(r"""^(?:Field )?["'](?P<name>\w+)["']""")
_LIBRARY_PREFIX = re.compile(r"\[json\.exception\.[\w.]+\] ")


def engine_error(status: int, body: bytes) -> EngineError:
    """The client's error for an engine's answer that is not 2xx."""
    message, kind = _message(status, body)
    if kind == "exceed_context_size_error" or _TOO_LONG.search(message):
        return too_long(message)
    match status:
        case 401 | 403:
            return key_refused()
        case 404 | 405:
            return unsupported(f"The engine has no such route: {message}")
        case 501:
            return unsupported(message)
        case 503:
            code = "model_loading" if "loading" in message.lower() else "overloaded"
            return EngineError(503, message, "server_error", code)
        case 429:
            return rate_limited(message)
        case _ if 400 <= status < 500:
            return _mistaken(message) or _invalid(status, message)
        case 500 if _NO_LOGITS.search(message):
            return unsupported("This slot's model does not generate text.")
        case 500:
            return _mistaken(message) or EngineError(500, message, "server_error", "engine_error")
        case _:
            return EngineError(status if status > 500 else 502, message, "server_error", "engine_error")


def _message(status: int, body: bytes) -> tuple[str, str | None]:
    error = error_field(body, "error", "message")
    if isinstance(error, dict):
        kind = error.get("type")
        return str(error.get("message") or f"HTTP {status}"), kind if isinstance(kind, str) else None
    return str(error or body.decode(errors="replace").strip()[:500] or f"HTTP {status}"), None


def _mistaken(message: str) -> EngineError | None:
    for mistake in _MISTAKES:
        if mistake.pattern.search(message):
            told = mistake.advice or _LIBRARY_PREFIX.sub("", message)
            return EngineError(400, told, "invalid_request_error", mistake.code, mistake.param or _field(message))
    return None


def _invalid(status: int, message: str) -> EngineError:
    return EngineError(status, message, "invalid_request_error", None, _field(message))


def _field(message: str) -> str | None:
    found = _NAMED_FIELD.match(message)
    return found["name"] if found else None
