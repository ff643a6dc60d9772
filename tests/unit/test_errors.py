"""Errors cross Ray as themselves and reach clients in one envelope."""

import pickle

import pytest

from providers.errors import EngineError, InvalidRequest, ProviderError
from providers.pulling import ModelUnavailable
from serve_app.config import ConfigError
from serve_app.errors import (
    BadRequest,
    EngineDied,
    LoadFailed,
    NoRoom,
    QueueFull,
    RequestTimeout,
    ServingError,
    SlotUnplaceable,
    StillLoading,
    answer_for,
)

SAMPLES: list[Exception] = [
    BadRequest(404, "no such model", "model_not_found", "model"),
    LoadFailed("chat", "engine_exited", "it exited with code 1", ("line one", "line two"), 20.0),
    SlotUnplaceable("chat", "it needs npu: 1"),
    EngineDied("chat", "exit code 137", ("line one",)),
    NoRoom("chat", "big is pinned"),
    StillLoading("chat", {"model": "chat", "state": "pulling", "progress": 0.5}, 120, 12.5),
    QueueFull("chat", 256),
    RequestTimeout("chat", 2.5),
    EngineError(400, "too long", "invalid_request_error", "context_length_exceeded", "messages"),
    InvalidRequest("bad field", "messages", "invalid_type"),
    ModelUnavailable("disk_full", "The disk is full."),
    ConfigError(("slots: none",)),
    ProviderError("no such device"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_pickling_keeps_everything(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_the_envelope_has_all_four_keys(error: Exception) -> None:
    envelope = answer_for(error).openai()["error"]
    assert isinstance(envelope, dict)
    assert set(envelope) == {"message", "type", "param", "code"}
    assert isinstance(envelope["message"], str) and envelope["message"]
    assert isinstance(envelope["type"], str)
    assert envelope["code"] is None or isinstance(envelope["code"], str)


def test_what_we_did_not_foresee_says_nothing_of_its_insides() -> None:
    answer = answer_for(RuntimeError("secret path /home/me"))
    assert answer.status == 500
    assert "secret" not in answer.message


def test_a_failed_load_says_why_and_when_to_try_again() -> None:
    answer = answer_for(SAMPLES[1])
    assert (answer.status, answer.code, answer.retry_after_s) == (503, "engine_exited", 20.0)
    assert "it exited with code 1" in answer.message


def test_a_dated_failure_is_the_same_but_for_its_date() -> None:
    failure = LoadFailed("chat", "engine_exited", "it fell", ("line",))
    assert vars(failure.after(0.2)) == vars(failure) | {"retry_after_s": 1.0}
    assert failure.after(42.0).retry_after_s == 42.0


def test_a_load_that_takes_long_is_told_beside_the_error() -> None:
    error = StillLoading("chat", {"model": "chat", "state": "pulling"}, 120, 12.5)
    answer = answer_for(error)
    assert (answer.status, answer.code, answer.type, answer.retry_after_s) == (
        503,
        "model_loading",
        "server_error",
        12.5,
    )
    assert answer.openai()["loading"] == answer.anthropic()["loading"] == {"model": "chat", "state": "pulling"}
    assert "load_wait_s (120 s)" in answer.message


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "retries"),
    [
        (QueueFull("chat", 256), 429, "rate_limit_error", "queue_full", True),
        (NoRoom("chat", "big is pinned"), 503, "server_error", "no_room", True),
        (RequestTimeout("chat", 2.5), 504, "server_error", "request_timeout", False),
        (EngineDied("chat", "it fell"), 502, "server_error", "engine_died", False),
        (SlotUnplaceable("chat", "it needs npu: 1"), 503, "server_error", "no_node_for_slot", False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_each_error_means_to_a_client(
    error: ServingError, status: int, kind: str, code: str, retries: bool
) -> None:
    answer = answer_for(error)
    assert (answer.status, answer.type, answer.code) == (status, kind, code)
    assert (answer.retry_after_s is not None) == retries
    assert answer.extra == {}


def test_anthropics_envelope() -> None:
    assert answer_for(QueueFull("chat", 2)).anthropic()["error"]["type"] == "rate_limit_error"  # type: ignore[index, call-overload]
    body = answer_for(SAMPLES[0]).anthropic()
    assert body == {"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}


def test_every_serving_error_has_a_status_of_its_own() -> None:
    assert all(isinstance(error.status, int) for error in SAMPLES if isinstance(error, ServingError))
