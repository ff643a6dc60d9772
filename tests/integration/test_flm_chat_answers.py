"""The emulated `flm` by the dialect that a front has: what it is sent, and what comes of what it says."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import numpy
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import JsonValue

from providers.base import JsonObject
from providers.capabilities import Capability, Operation
from providers.errors import EngineError
from providers.flm.dialect.answer import ChatAnswer
from providers.flm.dialect.embeddings import embedding_answer, embedding_request, engine_body
from providers.flm.dialect.errors import fault
from providers.flm.dialect.request import ChatRequest, chat_request
from providers.flm.dialect.routes import route
from providers.flm.options import FlmSlot
from tests.support.flm import Serving, serving
from tests.support.flm_client import ANSWER, TAG, pulled

SLOT = FlmSlot(
    name="npu", provider="flm", model=TAG, capabilities=(Capability.CHAT, Capability.EMBEDDING), context_size=512
)
TOOL: JsonObject = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CHUNK_BYTES = 7
"""So that events, characters and words are cut anywhere."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    home = pulled(tmp_path_factory.mktemp("flm"))
    context = str(SLOT.context_size)
    with serving(home, TAG, "--embed", "1", "--ctx-len", context, FLM_EMULATOR_TOKENS_PER_S="10000") as server:
        yield server


def translated(operation: Operation, body: JsonObject) -> JsonObject:
    found = route(operation)
    assert found is not None and found.translate is not None
    request = found.translate({"model": "npu", **body}, SLOT).request
    assert request is not None
    return request


def asked(text: str, **fields: JsonValue) -> ChatRequest:
    body: JsonObject = {"messages": [{"role": "user", "content": text}], **fields}
    whole = body | {"stream": True, "stream_options": {"include_usage": True}}
    return chat_request(translated(Operation.CHAT, whole), SLOT)


def post(server: Serving, path: str, body: JsonObject, read: Callable[[bytes], bool]) -> bytes:
    """What is read at once, if it is no stream; else each piece of the stream goes to `read`, until it says no more."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.headers["Content-Type"] != "text/event-stream":
            said = response.read()
            if (error := fault(response.status, said)) is not None:
                raise error
            return said
        while piece := response.read(CHUNK_BYTES):
            if read(piece):
                break
        return b""
    finally:
        connection.close()


def answered(server: Serving, request: ChatRequest) -> tuple[list[ChatCompletionChunk], ChatCompletion]:
    answer = ChatAnswer(request)
    chunks: list[JsonObject] = []

    def read(piece: bytes) -> bool:
        chunks.extend(answer.feed(piece))
        return answer.over

    post(server, "/v1/chat/completions", request.engine, read)
    assert answer.over
    shown = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in [*chunks, *answer.end()]]
    return shown, ChatCompletion.model_validate(answer.whole(), strict=True)


@pytest.mark.parametrize(
    ("text", "fields", "expected", "reason"),
    [
        ("Hi", {}, ANSWER, "stop"),
        ("Hi", {"stop": "iny mo"}, "Hello from the t", "stop"),
        ("Hi", {"max_completion_tokens": 1}, "Hello", "length"),
        ("Say 9 words", {"max_tokens": 3}, "word word word", "length"),
        ("Say 3 words", {"max_tokens": 3}, "word word word", "stop"),
    ],
)
def test_text(server: Serving, text: str, fields: JsonObject, expected: str, reason: str) -> None:
    chunks, whole = answered(server, asked(text, **fields))
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == (expected, reason)
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == expected
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == [reason]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0


def test_an_answer_ends_with_the_context(server: Serving) -> None:
    _, whole = answered(server, asked("Say 100000 words"))
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None and whole.usage.total_tokens == SLOT.context_size


def test_tools(server: Serving) -> None:
    for _ in range(2):
        chunks, whole = answered(server, asked("Weather?", tools=[TOOL]))
        calls = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or ()]
        assert [(call.index, call.id != "generate_id()") for call in calls] == [(0, True)]
        made = whole.choices[0].message.tool_calls or []
        functions = [call.function for call in made if call.type == "function"]
        assert [(function.name, function.arguments) for function in functions] == [("weather", '{"city":"x"}')]
        assert whole.choices[0].finish_reason == "tool_calls"


def test_what_a_tool_said_is_read(server: Serving) -> None:
    call: JsonObject = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns: list[JsonValue] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    request = chat_request(translated(Operation.CHAT, {"messages": turns, "tools": [TOOL]}), SLOT)
    _, whole = answered(server, request)
    assert whole.choices[0].message.content == ANSWER


def test_thoughts(server: Serving) -> None:
    _, whole = answered(server, asked("Hi", reasoning_effort="high"))
    assert whole.choices[0].message.model_extra == {"reasoning_content": "The user greets me."}
    assert whole.choices[0].message.content == ANSWER
    _, whole = answered(server, asked("Hi"))
    assert not whole.choices[0].message.model_extra


def test_a_conversation_that_is_too_long(server: Serving) -> None:
    with pytest.raises(EngineError) as raised:
        answered(server, asked("word " * 1000))
    assert (raised.value.status, raised.value.code) == (400, "context_length_exceeded")


def test_responses_are_made_of_its_stream(server: Serving) -> None:
    found = route(Operation.RESPONSES)
    assert found is not None and found.translate is not None
    translation = found.translate({"model": "npu", "input": "Hi", "stream": True}, SLOT)
    assert translation.request is not None and translation.stream is not None
    chunks, _ = answered(server, chat_request(translation.request, SLOT))
    fed = [translation.stream.feed(f"data: {chunk.model_dump_json()}\n\n".encode()) for chunk in chunks]
    said = b"".join([*fed, translation.stream.feed(b"data: [DONE]\n\n")]).decode()
    assert "response.completed" in said and ANSWER in said


def test_embeddings(server: Serving) -> None:
    body: JsonObject = {"input": ["a cat", "a cat", "two dogs"], "dimensions": 256}
    request = embedding_request(translated(Operation.EMBEDDINGS, body), SLOT)
    said = post(server, "/v1/embeddings", engine_body(request.texts), lambda _: True)
    answer = CreateEmbeddingResponse.model_validate(embedding_answer(request, json.loads(said)), strict=True)
    first, same, other = (numpy.asarray(item.embedding) for item in answer.data)
    assert len(first) == 256 and first @ same == pytest.approx(1) and first @ other < 0.95
    assert answer.usage.prompt_tokens == 2 + 2 + 2
