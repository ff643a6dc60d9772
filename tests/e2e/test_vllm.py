"""Slots on an emulated vLLM with one emulated GPU, as users see them: adapters, sleep, and an engine that dies."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.demo import config
from tests.support.server import UP, Server, ServerPark, eventually
from tests.support.stream import ChatStream
from tests.support.vllm import BIN, model_folder, variables
from tests.support.watcher import Watcher

pytestmark = pytest.mark.e2e

PATIENCE_S = 60
USER = [{"role": "user", "content": "Hi"}]
ANSWER = "Hello from the emulated vLLM!"
ONE_GPU = json.dumps({"GPU": 1, "cuda": 1})
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def slot(home: Path, name: str, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    env = variables(home / "faults" / name, pace_s=0.02)
    return {
        "name": name,
        "provider": "vllm",
        "model": str(home / "vllm"),
        "capabilities": ["chat"],
        "device": "cuda",
        "resources": {"gpu": 0.5},
        "options": {"binary": str(BIN / "vllm"), "env": env, **options},
        **more,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("vllm")
    (home / "faults").mkdir()
    for folder in ("vllm", "adapter"):
        model_folder(home / folder)
    return home


@pytest.fixture(scope="module")
def server(servers: ServerPark, home: Path) -> Iterator[Server]:
    slots = [
        slot(
            home,
            "sleeper",
            {"sleep_when_idle": True, "tool_call_parser": "hermes"},
            companions={"french": str(home / "adapter")},
            idle_after_s=1,
        ),
        slot(home, "plain", {}),
    ]
    yield servers.running(config(json.dumps(slots)), launcher=(*UP, "--resources", ONE_GPU))


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as one:
        yield one


def said(client: Any, name: str) -> Any:
    return client.chat.completions.create(model=name, messages=USER).choices[0].message.content


def engines(server: Server, name: str) -> list[int]:
    return server.engines(f"--served-model-name {name} ")


def test_chat_stream_adapter_and_tools(client: Any) -> None:
    assert said(client, "sleeper") == ANSWER
    assert said(client, "french") == ANSWER.replace("Hello", "Bonjour")
    assert {"sleeper", "french", "plain"} <= {model.id for model in client.models.list()}
    stream = client.chat.completions.create(
        model="sleeper", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage.completion_tokens == len(ANSWER.split())
    called = client.chat.completions.create(model="sleeper", messages=USER, tools=[TOOL])
    assert called.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_what_it_cannot_do_is_said_in_openais_envelope(server: Server) -> None:
    status, answer, _ = server.post("/v1/chat/completions", {"model": "plain", "messages": USER, "tools": [TOOL]})
    assert status == 400 and "tool_call_parser" in answer["error"]["message"]
    long = [{"role": "user", "content": "x" * 10_000}]
    status, answer, _ = server.post("/v1/chat/completions", {"model": "plain", "messages": long})
    assert (status, answer["error"]["type"]) == (400, "exceed_context_size_error"), answer


def test_an_idle_slot_sleeps_and_the_next_request_wakes_it(server: Server, client: Any) -> None:
    with Watcher(server) as watcher:
        assert said(client, "sleeper") == ANSWER
        eventually("it sleeps", lambda: bool(server.slot("sleeper").get("sleeping")), PATIENCE_S)
        assert server.slot("sleeper")["state"] == "idle"
        before = engines(server, "sleeper")
        assert said(client, "french") == ANSWER.replace("Hello", "Bonjour")
        assert engines(server, "sleeper") == before and len(before) == 1
        eventually("it is awake", lambda: not server.slot("sleeper").get("sleeping"), PATIENCE_S)
        watcher.wait_for("it slept", lambda event: event["name"] == "sleeper" and bool(event.get("sleeping")))


def test_one_that_does_not_wake_is_started_anew(server: Server, client: Any, home: Path) -> None:
    said(client, "sleeper")
    (before,) = engines(server, "sleeper")
    eventually("it sleeps", lambda: bool(server.slot("sleeper").get("sleeping")), PATIENCE_S)
    faults = home / "faults" / "sleeper"
    faults.write_text("stays-asleep")
    try:
        assert said(client, "sleeper") == ANSWER
    finally:
        faults.unlink()
    assert before not in engines(server, "sleeper")


def test_an_engine_that_dies_in_mid_stream_is_an_error_and_one_restart(server: Server, client: Any) -> None:
    said(client, "plain")
    (first,) = engines(server, "plain")
    stream = ChatStream(server, "plain", "Say 2000 words")
    stream.read_events(3)
    os.kill(first, signal.SIGKILL)
    assert b'"error"' in stream.rest()
    assert said(client, "plain") == ANSWER
    assert len(engines(server, "plain")) == 1 and engines(server, "plain") != [first]


def test_what_computes_dies_in_mid_stream(server: Server, client: Any, home: Path) -> None:
    """vLLM's server lives on for a moment and tells of it in its own words."""
    said(client, "plain")
    faults = home / "faults" / "plain"
    faults.write_text("core-dies-in-stream:3")
    events = ChatStream(server, "plain", "Say 2000 words").rest()
    faults.unlink()
    assert b'"code": "engine_died"' in events and b"word2" in events
    eventually("it answers again", lambda: said(client, "plain") == ANSWER, PATIENCE_S)


def test_a_load_that_fails_says_what_to_do(server: Server, home: Path) -> None:
    server.post("/api/slots/plain/unload", {})
    server.wait_for_state("plain", "offline")
    faults = home / "faults" / "plain"
    faults.write_text("out-of-memory")
    status, answer, _ = server.post("/v1/chat/completions", {"model": "plain", "messages": USER})
    faults.unlink()
    assert (status, answer["error"]["code"]) == (503, "engine_exited"), answer
    assert "gpu_memory_utilization" in answer["error"]["message"]
