"""Errors cross Ray as themselves and reach clients in one envelope."""

import pickle

import pytest

from providers.errors import EngineError, InvalidRequest, ProviderError
from serve_app.config import ConfigError
from serve_app.errors import BadRequest, EngineDied, LoadFailed, ServingError, SlotUnplaceable, answer_for
from serve_app.models import ModelUnavailable

SAMPLES: list[Exception] = [
    BadRequest(404, "no such model", "model_not_found", "model"),
    LoadFailed("chat", "engine_exited", "it exited with code 1", ("line one", "line two"), 20.0),
    SlotUnplaceable("chat", "it needs npu: 1"),
    EngineDied("chat", "exit code 137"),
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


def test_anthropics_envelope() -> None:
    body = answer_for(SAMPLES[0]).anthropic()
    assert body == {"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}


def test_every_serving_error_has_a_status_of_its_own() -> None:
    assert all(isinstance(error.status, int) for error in SAMPLES if isinstance(error, ServingError))
