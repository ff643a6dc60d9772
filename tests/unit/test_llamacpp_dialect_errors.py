"""llama.cpp's answers, as it words them, and what the client is told."""

import json

import pytest

from providers.llamacpp.dialect.errors import engine_error

MISTAKE, SERVER = "invalid_request_error", "server_error"
TABLE: list[tuple[int, str, str, tuple[int, str, str | None, str | None]]] = [
    (500, SERVER, "Failed to parse messages: Missing 'role'", (400, MISTAKE, "invalid_value", "messages")),
    (500, SERVER, "Failed to parse tools: Missing tool type: 5", (400, MISTAKE, "invalid_value", "tools")),
    (500, SERVER, "image input is not supported - hint: ...", (400, MISTAKE, "unsupported_content", "messages")),
    (500, SERVER, "Invalid base64 value", (400, MISTAKE, "invalid_image", "messages")),
    (500, SERVER, "error: cannot make GET request", (400, MISTAKE, "image_unreachable", "messages")),
    (400, MISTAKE, "Failed to load image or audio file", (400, MISTAKE, "invalid_image", "messages")),
    (500, SERVER, "vector::_M_range_check: __n (which is 9) >= ...", (400, MISTAKE, "invalid_value", "tokens")),
    (500, SERVER, "[json.exception.parse_error.101] parse error", (400, MISTAKE, "invalid_value", None)),
    (400, MISTAKE, "Field 'n': [json.exception.type_error.302] ...", (400, MISTAKE, "invalid_value", "n")),
    (400, MISTAKE, "Field 'n': Value must be between 1 <= value <= 2", (400, MISTAKE, None, "n")),
    (400, MISTAKE, '"prompt" must not be empty', (400, MISTAKE, None, "prompt")),
    (
        400,
        "exceed_context_size_error",
        "request (9 tokens) exceeds the available context size (5 tokens)",
        (400, "exceed_context_size_error", "context_length_exceeded", None),
    ),
    (
        500,
        SERVER,
        "input (2002 tokens) is too large to process. increase the physical batch size",
        (400, "exceed_context_size_error", "context_length_exceeded", None),
    ),
    (
        500,
        SERVER,
        "the current context does not support logits computation. skipping",
        (501, "not_supported_error", "not_supported", None),
    ),
    (501, "not_supported_error", "Infill is not supported", (501, "not_supported_error", "not_supported", None)),
    (404, "not_found_error", "File Not Found", (501, "not_supported_error", "not_supported", None)),
    (401, "authentication_error", "Invalid API Key", (502, SERVER, "engine_refused", None)),
    (503, "unavailable_error", "Loading model", (503, SERVER, "model_loading", None)),
    (503, "unavailable_error", "no slot available", (503, SERVER, "overloaded", None)),
    (500, SERVER, "Compute error.", (500, SERVER, "engine_error", None)),
]


@pytest.mark.parametrize(("status", "kind", "message", "told"), TABLE)
def test_error_in_the_clients_terms(
    status: int, kind: str, message: str, told: tuple[int, str, str | None, str | None]
) -> None:
    error = engine_error(status, json.dumps({"error": {"code": status, "message": message, "type": kind}}).encode())
    assert (error.status, error.type, error.code, error.param) == told
    assert "json.exception" not in error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "plain"}', "plain"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"", "HTTP 500"),
        (b"[]", "[]"),
        (b"\xff", "\ufffd"),
    ],
)
def test_body_of_any_shape(body: bytes, message: str) -> None:
    error = engine_error(500, body)
    assert (error.status, error.message, error.type) == (500, message, "server_error")
