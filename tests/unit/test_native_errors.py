"""What an engine of ours answers when it does not, in the client's terms."""

import json

import pytest

from providers.native.errors import engine_error
from providers.native.server import refusal

WRONG: list[object] = [None, 5, "", [], {}, {"message": 5, "code": [], "param": {}}]


def test_a_refusal_arrives_whole() -> None:
    refused = refusal(400, "No such voice.", "unknown_voice", "voice")
    error = engine_error(refused.status, bytes(refused.body))  # type: ignore[arg-type]
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.message, error.code, error.param) == ("No such voice.", "unknown_voice", "voice")
    failed = engine_error(500, bytes(refusal(500, "It broke.").body))  # type: ignore[arg-type]
    assert (failed.type, failed.message, failed.code, failed.param) == ("server_error", "It broke.", None, None)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'"error"', b"{}", b"\xff", b"[" * 100_000]
    + [json.dumps({"error": error}).encode() for error in WRONG],
)
def test_a_stranger_s_answer_is_told_by_its_status(body: bytes) -> None:
    error = engine_error(502, body)
    assert (error.message, error.code, error.param) == ("The engine answered 502.", None, None)


def test_a_message_alone() -> None:
    assert engine_error(500, b'{"error": "out of memory"}').message == "out of memory"
