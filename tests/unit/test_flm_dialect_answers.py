"""What becomes of FastFlowLM's streams, embeddings and errors."""

import base64
import json
from collections.abc import Iterable
from typing import SupportsIndex

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import JsonValue

from providers.base import JsonObject
from providers.capabilities import Capability
from providers.errors import EngineError
from providers.flm.dialect.answer import ChatAnswer
from providers.flm.dialect.embeddings import EmbeddingRequest, embedding_answer, embedding_request
from providers.flm.dialect.errors import fault, relayed
from providers.flm.dialect.request import ChatRequest, chat_request
from providers.flm.dialect.stopping import Stopper
from providers.flm.options import FlmSlot
from providers.sse import DONE

SLOT = FlmSlot(name="npu", provider="flm", model="qwen3:0.6b", capabilities=(Capability.CHAT,))
USAGE: JsonObject = {
    "prompt_tokens": 2,
    "completion_tokens": 3,
    "total_tokens": 5,
    "active_kv_tokens": 12,
    "load_duration": 0.0,
    "prefill_duration_ttft": 0.5,
    "decoding_duration": 2.0,
    "prefill_speed_tps": 4.0,
    "decoding_speed_tps": 1.5,
}
COUNTED: JsonObject = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 7},
}


def asked(**fields: JsonValue) -> ChatRequest:
    body: JsonObject = {"messages": [{"role": "user", "content": "12345678"}], **fields}
    return chat_request(body | {"stream_options": {"include_usage": True}}, SLOT)


def delta(**fields: JsonValue) -> JsonObject:
    return {"id": "chatcmpl-x", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def says(*pieces: str) -> list[JsonObject]:
    return [delta(role="assistant", content=piece) for piece in pieces]


def last(reason: str) -> JsonObject:
    return {"choices": [{"index": 0, "delta": {"content": None}, "finish_reason": reason}], "usage": USAGE}


def calls(name: str, index: int, arguments: JsonValue = "{}") -> JsonObject:
    function: JsonObject = {"name": name, "arguments": arguments}
    call: JsonObject = {"index": index, "id": "generate_id()", "type": "function", "function": function}
    return delta(tool_calls=[call])


def event(*chunks: JsonObject) -> bytes:
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks)


def stream(*chunks: JsonObject) -> bytes:
    return event(*chunks) + f"data: {DONE}\n\n".encode()


def answered(request: ChatRequest, pieces: Iterable[bytes]) -> tuple[list[ChatCompletionChunk], ChatCompletion]:
    """Its chunks and all of it, by the types of OpenAI's client."""
    answer = ChatAnswer(request)
    chunks: list[JsonObject] = []
    for piece in pieces:
        chunks += answer.feed(piece)
        if answer.over:
            break
    assert answer.over
    shown = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in [*chunks, *answer.end()]]
    return shown, ChatCompletion.model_validate(answer.whole(), strict=True)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def reason_of(chunks: list[ChatCompletionChunk]) -> list[str]:
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


@pytest.mark.parametrize(
    ("fields", "chunks", "text", "reason"),
    [
        ({}, [*says("Hel", "lo"), last("stop")], "Hello", "stop"),
        ({}, [*says("Hel", "lo"), last("length")], "Hello", "length"),
        ({}, [*says("Hel", "lo"), last("cancel")], "Hello", "stop"),
        ({}, [last("stop")], "", "stop"),
        ({"max_tokens": 1}, [*says("Hel", "lo"), last("length")], "Hel", "length"),
        ({"max_tokens": 2}, [*says("Hel", "lo"), last("stop")], "Hello", "stop"),
        ({"stop": ["lo"]}, [*says("Hel", "lo", "!"), last("stop")], "Hel", "stop"),
        ({"stop": ["x", "el"]}, [*says("Hel", "lo"), last("length")], "H", "stop"),
        ({"stop": ["Hel"]}, [*says("Hel", "lo"), last("length")], "", "stop"),
        ({"stop": ["lo!"]}, [*says("Hel", "lo"), last("length")], "Hello", "length"),
    ],
)
def test_text(fields: JsonObject, chunks: list[JsonObject], text: str, reason: str) -> None:
    shown, whole = answered(asked(**fields), [stream(*chunks)])
    assert (text_of(shown), reason_of(shown)) == (text, [reason])
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (text, reason)
    assert {chunk.id for chunk in shown} == {whole.id} and whole.id.startswith("chatcmpl-")
    assert {chunk.model for chunk in shown} == {whole.model} == {"npu"}
    roles = [choice.delta.role for chunk in shown for choice in chunk.choices]
    assert roles[0] == "assistant" and not any(roles[1:])
    assert shown[-1].choices == [] and shown[-1].usage == whole.usage


@given(st.lists(st.integers(1, 400), max_size=12), st.sampled_from(["", "tiny", "!!", "ö m"]))
def test_where_bytes_are_cut_makes_no_difference(cuts: list[int], stop: str) -> None:
    data = stream(*says("Hello", " from", " the ti", "ny", " ö", " model", "!!"), last("stop"))
    places = sorted({0, len(data), *cuts})
    pieces = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
    shown, whole = answered(asked(stop=[stop] if stop else None), pieces)
    text = "Hello from the tiny ö model!!"
    assert text_of(shown) == whole.choices[0].message.content == (text.partition(stop)[0] if stop else text)


@given(st.text("ab"), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.integers(1, 3))
def test_text_ends_before_the_first_stop(text: str, stops: list[str], size: int) -> None:
    stopper = Stopper(tuple(stops))
    fed = [text[i : i + size] for i in range(0, len(text), size)]
    shown = "".join(map(stopper.feed, fed)) + stopper.flush()
    ends = [place + len(stop) for stop in stops if (place := text.find(stop)) >= 0]
    if not ends:
        assert shown == text and not stopper.hit
        return
    # The one that was complete first ends the text; of several that one piece completes, the one that begins first.
    whole = text[: -(-min(ends) // size) * size]
    assert stopper.hit and shown == whole[: min(place for stop in stops if (place := whole.find(stop)) >= 0)]


class Watched(str):
    """A stop string that counts its characters that are looked at."""

    looks = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        found = super().__getitem__(key)
        self.looks += len(found)
        return found


def test_the_work_for_a_stop_grows_with_the_text_alone() -> None:
    stop = Watched("a" * 499 + "b" + "a" * 499)
    stopper = Stopper((stop,))
    prepared, stop.looks = stop.looks, 0
    shown = "".join(stopper.feed("a") for _ in range(5000)) + stopper.flush()
    assert shown == "a" * 5000 and prepared <= 4 * len(stop) and 0 < stop.looks <= 3 * 5000


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    answer = ChatAnswer(asked(stop=["<end>"]))
    fed = [[answer.feed(event(said)) for said in says(piece)] for piece in ("a <", "b", "<en", "c")]
    shown = [text_of([ChatCompletionChunk.model_validate(c) for chunks in step for c in chunks]) for step in fed]
    assert shown == ["a ", "<b", "", "<enc"]


def test_tool_calls_are_numbered_and_named_anew() -> None:
    shown, whole = answered(asked(), [stream(calls("f", 41, '{"a":1}'), calls("g", 42, {"b": 2}), last("tool_calls"))])
    streamed = [call for chunk in shown for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.index for call in streamed] == [0, 1]
    made = whole.choices[0].message.tool_calls or []
    assert [(call.id, call.type) for call in streamed] == [(call.id, call.type) for call in made]
    assert len({call.id for call in made}) == 2 and all(call.id.startswith("call_") for call in made)
    functions = [call.function for call in made if call.type == "function"]
    assert [(function.name, function.arguments) for function in functions] == [("f", '{"a":1}'), ("g", '{"b": 2}')]
    assert whole.choices[0].message.content is None
    assert reason_of(shown) == [whole.choices[0].finish_reason] == ["tool_calls"]


def test_text_before_a_call_keeps_its_place() -> None:
    shown, whole = answered(asked(stop=["<x>"]), [stream(*says("I see <"), calls("f", 0), last("stop"))])
    kinds = ["call" if choice.delta.tool_calls else choice.delta.content for c in shown for choice in c.choices]
    assert kinds == ["I see ", "<", "call", None]
    assert whole.choices[0].message.content == "I see <" and whole.choices[0].finish_reason == "tool_calls"


def test_thoughts_are_kept_apart_and_not_searched_for_stops() -> None:
    data = stream(delta(role="assistant", reasoning_content="hm, stop"), *says("Hello"), last("stop"))
    shown, whole = answered(asked(stop=["stop"]), [data])
    deltas = [choice.delta.model_dump(exclude_unset=True) for chunk in shown for choice in chunk.choices]
    assert deltas[:2] == [{"role": "assistant", "content": None, "reasoning_content": "hm, stop"}, {"content": "Hello"}]
    assert whole.choices[0].message.model_extra == {"reasoning_content": "hm, stop"}


def test_usage_has_what_the_cache_had_and_times_are_llamacpps() -> None:
    _, whole = answered(asked(), [stream(*says("Hello"), last("stop"))])
    assert whole.usage is not None and whole.usage.model_dump(exclude_unset=True) == COUNTED
    timings = {"prompt_n": 2, "prompt_ms": 500.0, "prompt_per_second": 4.0}
    timings |= {"predicted_n": 3, "predicted_ms": 2000.0, "predicted_per_second": 1.5}
    assert whole.model_extra == {"timings": timings}


def test_usage_of_an_answer_that_a_stop_ended_is_estimated() -> None:
    _, whole = answered(asked(stop=["!"]), [stream(*says("a", "b", "!", "c"), last("stop"))])
    # "role" "user" "content" "12345678"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (6, 3, 9)


def test_usage_comes_in_a_stream_only_if_asked() -> None:
    answer = ChatAnswer(chat_request({"messages": [{"role": "user", "content": "x"}]}, SLOT))
    chunks = [*answer.feed(stream(*says("a"), last("stop"))), *answer.end()]
    assert len(chunks) == 2 and all("usage" not in chunk for chunk in chunks)


def test_how_far_an_answer_is() -> None:
    answer = ChatAnswer(asked())
    assert (answer.empty, answer.over) == (True, False)
    answer.feed(event(delta(role="assistant", content="")))
    assert (answer.empty, answer.over) == (True, False)
    answer.feed(event(delta(role="assistant", content="a")))
    assert (answer.empty, answer.over) == (False, False)
    answer.feed(event(last("stop")))
    assert (answer.empty, answer.over) == (False, True)
    assert answer.feed(event(delta(content="late"))) == []


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (event({"error": "boom"}), 500, "engine_error"),
        (event({"error": {"message": "Max length reached!", "code": 400}}), 400, "context_length_exceeded"),
        (b"data: {broken\n\n", 502, "engine_error"),
        (b"data: [1]\n\n", 502, "engine_error"),
    ],
)
def test_errors_in_a_stream(data: bytes, status: int, code: str) -> None:
    answer = ChatAnswer(asked())
    answer.feed(event(*says("a")))
    with pytest.raises(EngineError) as raised:
        answer.feed(data)
    assert (raised.value.status, raised.value.code) == (status, code)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"error": "boom"}, (500, "server_error", "engine_error")),
        (200, {"error": {"message": "boom", "code": 500}}, (500, "server_error", "engine_error")),
        (200, {"error": {}}, (500, "server_error", "engine_error")),
        (200, {"error": "Failed to load qwen3:0.6b model!"}, (503, "server_error", "model_not_loaded")),
        (200, None, (503, "server_error", "model_not_loaded")),
        (
            200,
            {"error": "[json.exception.type_error.302] type must be number, but is null"},
            (400, "invalid_request_error", "invalid_value"),
        ),
        (
            400,
            {"error": {"message": "Max length reached!", "type": "model_error", "code": 400}},
            (400, "exceed_context_size_error", "context_length_exceeded"),
        ),
        (400, {"error": "Invalid JSON"}, (400, "invalid_request_error", "invalid_value")),
        (404, {"error": "Not Found"}, (501, "not_supported_error", "not_supported")),
        (
            413,
            {"error": "Request payload too large"},
            (413, "invalid_request_error", "request_too_large"),
        ),
        (500, {"error": "Handler exception: boom"}, (500, "server_error", "engine_error")),
        (
            503,
            {"error": "NPU is in use and request queue is full (limit: 10). Please try again later."},
            (503, "server_error", "overloaded"),
        ),
        (502, [], (502, "server_error", "engine_error")),
    ],
)
def test_faults(status: int, body: JsonValue, expected: tuple[int, str, str]) -> None:
    error = fault(status, json.dumps(body).encode())
    assert error is not None and error.message and "json.exception" not in error.message
    assert (error.status, error.type, error.code) == expected


@pytest.mark.parametrize("body", [b"<html>", b"", b"{" * 100_000])
def test_what_is_no_json_is_a_fault(body: bytes) -> None:
    error = fault(200, body)
    assert error is not None and error.status == 500 and error.message


@pytest.mark.parametrize("body", [{"choices": []}, {"error": None, "data": []}, []])
def test_answers_are_no_faults(body: JsonValue) -> None:
    assert fault(200, json.dumps(body).encode()) is None


def test_what_the_front_says_of_a_fault_reaches_the_client() -> None:
    error = fault(400, b'{"error": "Max length reached!"}')
    assert error is not None
    envelope = {"message": error.message, "type": error.type, "code": error.code, "param": error.param}
    told = relayed(error.status, json.dumps({"error": envelope}).encode())
    assert told.args == error.args
    assert relayed(502, b"<html>").type == "server_error"


def vectors(count: int, size: int = 768) -> JsonObject:
    return {"data": [{"embedding": [float(i + 1)] * size, "index": i} for i in range(count)], "usage": {}}


def embedding(**fields: JsonValue) -> EmbeddingRequest:
    given: JsonObject = {"input": ["12345", "x"], **fields}
    return embedding_request(given, SLOT)


def test_embeddings() -> None:
    answer = CreateEmbeddingResponse.model_validate(embedding_answer(embedding(), vectors(2)), strict=True)
    assert [(item.index, item.embedding) for item in answer.data] == [(0, [1.0] * 768), (1, [2.0] * 768)]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("npu", 3, 3)


def test_embeddings_count_no_more_of_a_text_than_is_embedded() -> None:
    answer = embedding_answer(embedding(input=["x" * 100_000, "12345"]), vectors(2))
    assert answer["usage"] == {"prompt_tokens": 2048 + 2, "total_tokens": 2048 + 2}


def test_embeddings_shortened_and_packed() -> None:
    answer = embedding_answer(embedding(dimensions=128, encoding_format="base64"), vectors(2))
    data = answer["data"]
    assert isinstance(data, list)
    for item in data:
        assert isinstance(item, dict) and isinstance(item["embedding"], str)
        vector = numpy.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4")
        assert len(vector) == 128 and numpy.linalg.norm(vector) == pytest.approx(1)


@pytest.mark.parametrize("answer", [None, {}, vectors(1), vectors(2, 0), {"data": [{"embedding": ["x"]}] * 2}])
def test_embeddings_that_are_not_there_are_an_error(answer: JsonValue) -> None:
    with pytest.raises(EngineError) as raised:
        embedding_answer(embedding(), answer)
    assert raised.value.status == 502
