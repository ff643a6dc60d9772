"""Slots on the real vLLM, on the CPU, with a tiny model that recites."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import numpy as np
import openai
import pytest

from providers.tiny.llama import (
    ADAPTED_ANSWER,
    ADAPTER,
    ANSWER,
    CHAT,
    EMBED,
    make_adapter,
    make_embedding_llama,
    make_llama,
)
from tests.e2e.demo import config
from tests.support.server import Server, ServerPark, eventually, owned_processes
from tests.support.watcher import Watcher
from tests.vllm_real.conftest import PYTHON

PATIENCE_S = 300.0
USER: Any = [{"role": "user", "content": "Hi"}]
LONG = [{"role": "user", "content": "x" * 3000}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]


def slot(home: Path, name: str, model: str, capabilities: list[str], **more: Any) -> dict[str, Any]:
    options = {"python": PYTHON, "cpu_cache_gib": 1, "enforce_eager": True} | more.pop("options", {})
    return {
        "name": name,
        "provider": "vllm",
        "model": str(home / model),
        "capabilities": capabilities,
        "device": "cpu",
        "context_size": 1024,
        "load_wait_s": PATIENCE_S,
        "options": options,
        **more,
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llamas")
    make_llama(folder / CHAT)
    make_embedding_llama(folder / EMBED)
    make_adapter(folder / ADAPTER)
    return folder


@pytest.fixture(scope="module")
def server(servers: ServerPark, models: Path) -> Iterator[Server]:
    chat = slot(
        models,
        "chat",
        CHAT,
        ["chat", "completion"],
        companions={"french": str(models / ADAPTER)},
        options={"tool_call_parser": "hermes", "max_lora_rank": 8},
    )
    slots = [
        chat,
        slot(models, "embed", EMBED, ["embedding"]),
        slot(models, "rank", EMBED, ["rerank"]),
        slot(models, "broken", ADAPTER, ["chat"]),
    ]
    server = servers.running(config(json.dumps(slots)))
    yield server
    server.stop()
    server.assert_nothing_left()
    assert not owned_processes(models)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S) as one:
        yield one


def said(client: Any, name: str) -> Any:
    return client.chat.completions.create(model=name, messages=USER).choices[0].message.content


def test_a_load_tells_its_states(server: Server, client: Any) -> None:
    with Watcher(server) as watcher:
        assert said(client, "chat") == ANSWER
        watcher.wait_for("it serves", lambda event: event["name"] == "chat" and event["state"] == "serving")
    assert watcher.moves("chat")[:4] == ["offline", "starting", "warming", "ready"]


def test_chat_streams_and_counts(client: Any) -> None:
    stream = client.chat.completions.create(
        model="chat", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage.completion_tokens > 0


def test_an_adapter_has_a_name_of_its_own(client: Any) -> None:
    assert said(client, "french") == ADAPTED_ANSWER
    assert said(client, "hal0/chat") == ANSWER


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}])
def test_tools(client: Any, choice: Any) -> None:
    answer = client.chat.completions.create(model="chat", messages=USER, tools=TOOLS, tool_choice=choice, max_tokens=60)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments)["city"] == "Paris"


def test_a_tool_call_streams(client: Any) -> None:
    stream = client.chat.completions.create(model="chat", messages=USER, tools=TOOLS, stream=True)
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"city": "Paris"}


def test_completions_with_log_probabilities(client: Any) -> None:
    answer = client.completions.create(model="chat", prompt="a\n", max_tokens=2, logprobs=1)
    assert answer.choices[0].text == "Hello from" and answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs.tokens == ["Hello", " from"]


def test_responses(client: Any) -> None:
    assert client.responses.create(model="chat", input="Hi").output_text == ANSWER
    with client.responses.stream(model="chat", input="Hi") as stream:
        assert stream.get_final_response().output_text == ANSWER
    called = client.responses.create(model="chat", input="Hi", tools=[{**TOOLS[0]["function"], "type": "function"}])
    assert called.output[0].type == "function_call"


def test_messages(server: Server) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as client:
        answer = client.messages.create(model="chat", messages=USER, max_tokens=20)
        assert answer.content[0].text == ANSWER  # type: ignore[union-attr]
        stopped = client.messages.create(model="chat", messages=USER, max_tokens=20, stop_sequences=["tiny"])
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "tiny")
        with client.messages.stream(model="chat", messages=USER, max_tokens=20) as stream:
            assert stream.get_final_text() == ANSWER
        assert client.messages.count_tokens(model="chat", messages=USER).input_tokens > 0


def test_a_schema_is_kept_to(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model="chat",
        messages=USER,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    text = answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length" or json.loads(text) == {"a": 1}


@pytest.mark.parametrize(
    ("path", "body", "status", "type", "param"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "x" * 3000}]},
            400,
            "exceed_context_size_error",
            None,
        ),
        ("chat/completions", {"messages": USER, "max_tokens": 5000}, 400, "invalid_request_error", "max_tokens"),
        ("chat/completions", {"messages": USER, "temperature": -1}, 400, "invalid_request_error", "temperature"),
        ("chat/completions", {"messages": "x"}, 400, "invalid_request_error", "messages"),
        ("completions", {"prompt": [300000]}, 400, "invalid_request_error", "prompt"),
        ("completions", {"prompt": ""}, 400, "invalid_request_error", "prompt"),
    ],
)
def test_what_is_wrong_is_the_clients(
    server: Server, path: str, body: dict[str, Any], status: int, type: str, param: str | None
) -> None:
    told, answer, _ = server.post(f"/v1/{path}", {"model": "chat"} | body)
    error = answer["error"]
    assert (told, error["type"], error["param"]) == (status, type, param), answer
    assert error["code"] is None or isinstance(error["code"], str)


def test_tokens_there_and_back(server: Server) -> None:
    _, answer, _ = server.post("/tokenize", {"model": "chat", "content": "abc"})
    _, back, _ = server.post("/detokenize", {"model": "chat", "tokens": answer["tokens"]})
    assert len(answer["tokens"]) == 3 and back == {"content": "abc"}


def family(pid: int) -> list[int]:
    """A process and all that came of it. vLLM's own titles wipe out arguments and environment, by which others are
    known."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(one for child in children for one in family(child))]


def title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def test_what_computes_is_killed_and_the_next_request_is_answered(server: Server, client: Any) -> None:
    said(client, "chat")
    (engine,) = server.engines("--served-model-name chat ")
    processes = family(engine)
    (core,) = (pid for pid in processes if title(pid).startswith("VLLM::EngineCore"))
    os.kill(core, signal.SIGKILL)
    eventually("nothing is left of that engine", lambda: not any(title(pid) for pid in processes), PATIENCE_S)
    eventually("it answers anew", lambda: answers(client), PATIENCE_S, 1)


def answers(client: Any) -> bool:
    try:
        return bool(said(client, "chat") == ANSWER)
    except openai.APIStatusError:
        return False


def test_embeddings(server: Server, client: Any) -> None:
    """The tiny model's vector tells the last byte."""
    whole = client.embeddings.create(model="embed", input=["a", "ba", "b"])
    vectors = [np.array(one.embedding) for one in whole.data]
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-3)
    assert np.allclose(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2])
    plain = client.embeddings.create(model="embed", input="a", encoding_format="float").data[0].embedding
    assert np.allclose(plain, vectors[0], atol=1e-3)
    assert len(client.embeddings.create(model="embed", input="a", dimensions=100).data[0].embedding) == 100
    status, answer, _ = server.post("/v1/embeddings", {"model": "embed", "input": "x" * 3000})
    assert (status, answer["error"]["type"]) == (400, "exceed_context_size_error")


def test_reranking(server: Server) -> None:
    body = {"model": "rank", "query": "a", "documents": ["b", "a"], "return_documents": True, "top_n": 1}
    status, answer, _ = server.post("/v1/rerank", body)
    assert status == 200, answer
    assert answer["results"][0]["index"] == 1 and answer["results"][0]["document"] == {"text": "a"}


def test_a_model_that_is_none_says_so(server: Server) -> None:
    status, answer, _ = server.post("/v1/chat/completions", {"model": "broken", "messages": USER})
    assert (status, answer["error"]["code"]) == (503, "engine_exited"), answer
