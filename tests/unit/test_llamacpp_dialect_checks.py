"""Which requests are refused before they reach the engine, and which reach it untouched."""

import pytest
from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.capabilities import NEEDED_CAPABILITY, Capability, Operation
from providers.errors import InvalidRequest, UnsupportedRequest
from providers.llamacpp.dialect import route
from providers.llamacpp.provider import LlamaCpp
from providers.spec import SlotSpec

SLOT = SlotSpec(name="s", provider="llama.cpp", model="m", capabilities=(Capability.CHAT,))
EYES = SLOT.model_copy(update={"capabilities": (Capability.CHAT, Capability.VISION)})
HI: list[JsonValue] = [{"role": "user", "content": "hi"}]
CALL: JsonObject = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL: JsonObject = {"type": "function", "function": {"name": "f"}}
OTHER: JsonObject = {"type": "function", "function": {"name": "g"}}
PICTURE: JsonObject = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def translate(operation: Operation, body: JsonObject, slot: SlotSpec = SLOT) -> Translation:
    found = route(operation)
    assert found is not None and found.translate is not None
    return found.translate(body, slot)


def user(content: JsonValue) -> JsonObject:
    return {"messages": [{"role": "user", "content": content}]}


def turn(**fields: JsonValue) -> JsonObject:
    return {"messages": [*HI, {"role": "assistant", **fields}]}


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_of_text_has_a_route(operation: Operation) -> None:
    found = route(operation)
    if NEEDED_CAPABILITY[operation] not in {None, *LlamaCpp.capabilities}:
        assert found is None
        return
    assert found is not None and found.path.startswith("/")
    assert (found.translate is None) == (found.method == "GET")


CHAT_REFUSED: list[tuple[JsonObject, str]] = [
    ({}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    (user(None), "messages[0].content"),
    (user(5), "messages[0].content"),
    (user([]), "messages[0].content"),
    (user(["x"]), "messages[0].content[0]"),
    (user([{"text": "x"}]), "messages[0].content[0].type"),
    (user([{"type": "text"}]), "messages[0].content[0].text"),
    (user([{"type": "text", "text": 5}]), "messages[0].content[0].text"),
    (turn(content=None), "messages[1].content"),
    (turn(tool_calls=5), "messages[1].tool_calls"),
    (turn(tool_calls=[{"id": "1"}]), "messages[1].tool_calls[0].type"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": 5}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -5}, "max_completion_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": False}, "top_p"),
    ({"n": 0}, "n"),
    ({"seed": "x"}, "seed"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"logprobs": 5}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"logit_bias": "x"}, "logit_bias"),
    ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
    ({"response_format": 5}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
        "response_format.json_schema.schema",
    ),
    ({"json_schema": 5}, "json_schema"),
    ({"tools": 5}, "tools"),
    ({"tools": [5]}, "tools[0]"),
    ({"tools": [{"type": "web"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
        "tools[0].function.parameters",
    ),
    ({"tool_choice": 5}, "tool_choice"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"parallel_tool_calls": "x"}, "parallel_tool_calls"),
]


@pytest.mark.parametrize(("fields", "param"), CHAT_REFUSED)
def test_chat_refuses(fields: JsonObject, param: str) -> None:
    body = fields if "messages" in fields or not fields else {"messages": HI, **fields}
    with pytest.raises(InvalidRequest) as refused:
        translate(Operation.CHAT, body)
    assert refused.value.param == param and refused.value.code


def test_wording_is_openais() -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate(Operation.CHAT, {"messages": [{"role": 1, "content": "x"}]})
    expected = "Invalid type for 'messages[0].role': expected a string, but got an integer instead."
    assert refused.value.message == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": None, "stop": None, "tools": None, "response_format": None, "temperature": None},
        {"max_tokens": -1, "temperature": 0, "top_k": 40, "n": 2, "seed": -7, "stop": ["a"], "mirostat": 2},
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"logprobs": True, "top_logprobs": 5},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
        {"logit_bias": [[5, -100]], "grammar": 'root ::= "a"', "some_new_field": {"x": 1}},
    ],
)
def test_chat_passes_untouched(fields: JsonObject) -> None:
    assert translate(Operation.CHAT, {"model": "s", "messages": HI, **fields}) == Translation()


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "developer", "content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": ""},
    ],
)
def test_chat_takes_messages_of_every_kind(message: JsonObject) -> None:
    assert translate(Operation.CHAT, {"messages": [*HI, message]}) == Translation()


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        (Operation.CHAT, PICTURE),
        (Operation.APPLY_TEMPLATE, PICTURE),
        (Operation.MESSAGES, {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        (Operation.COUNT_TOKENS, {"type": "image", "source": {"type": "base64", "data": "AAAA"}}),
    ],
)
def test_a_picture_needs_vision(operation: Operation, content: JsonObject) -> None:
    translate(operation, user([content]), EYES)
    with pytest.raises(InvalidRequest, match="has no vision") as refused:
        translate(operation, user([content]))
    assert refused.value.param == "messages[0].content[0]"


@pytest.mark.parametrize("picture", [None, "data:...", {}, {"url": None}, {"url": 5}, {"url": ""}])
def test_a_pictures_url_is_a_string(picture: JsonValue) -> None:
    with pytest.raises(InvalidRequest):
        translate(Operation.CHAT, user([{"type": "image_url", "image_url": picture}]), EYES)


@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        ({"type": "function", "function": {"name": "g"}}, "required"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}}, "auto"),
    ],
)
def test_a_choice_of_tools_leaves_only_those(choice: JsonObject, mode: str) -> None:
    body: JsonObject = {"messages": HI, "tools": [TOOL, OTHER], "tool_choice": choice}
    request = translate(Operation.CHAT, body).request
    assert request is not None and request["tools"] == [OTHER] and request["tool_choice"] == mode
    assert body["tools"] == [TOOL, OTHER]


def test_log_probabilities_without_alternatives_are_asked_for() -> None:
    request = translate(Operation.CHAT, {"messages": HI, "logprobs": True, "top_logprobs": 0}).request
    assert request is not None and request["top_logprobs"] == 1


REFUSED: list[tuple[Operation, JsonObject, str]] = [
    (Operation.COMPLETION, {}, "prompt"),
    (Operation.COMPLETION, {"prompt": None}, "prompt"),
    (Operation.COMPLETION, {"prompt": []}, "prompt"),
    (Operation.COMPLETION, {"prompt": 5}, "prompt"),
    (Operation.COMPLETION, {"prompt": [1, "x"]}, "prompt[0]"),
    (Operation.COMPLETION, {"prompt": "x", "logprobs": "x"}, "logprobs"),
    (Operation.COMPLETION, {"prompt": "x", "logprobs": -1}, "logprobs"),
    (Operation.NATIVE_COMPLETION, {}, "prompt"),
    (Operation.NATIVE_COMPLETION, {"prompt": "x", "json_schema": 5}, "json_schema"),
    (Operation.INFILL, {"input_prefix": "x"}, "input_suffix"),
    (Operation.INFILL, {"input_prefix": 5, "input_suffix": ""}, "input_prefix"),
    (Operation.APPLY_TEMPLATE, {"messages": []}, "messages"),
    (Operation.TOKENIZE, {}, "content"),
    (Operation.TOKENIZE, {"content": None}, "content"),
    (Operation.TOKENIZE, {"content": ["a", 1.5]}, "content[1]"),
    (Operation.TOKENIZE, {"content": "a", "add_special": "x"}, "add_special"),
    (Operation.DETOKENIZE, {}, "tokens"),
    (Operation.DETOKENIZE, {"tokens": 5}, "tokens"),
    (Operation.DETOKENIZE, {"tokens": [1.5]}, "tokens[0]"),
    (Operation.DETOKENIZE, {"tokens": [-1]}, "tokens[0]"),
    (Operation.EMBEDDINGS, {}, "input"),
    (Operation.EMBEDDINGS, {"input": None}, "input"),
    (Operation.EMBEDDINGS, {"input": ""}, "input"),
    (Operation.EMBEDDINGS, {"input": []}, "input"),
    (Operation.EMBEDDINGS, {"input": [""]}, "input[0]"),
    (Operation.EMBEDDINGS, {"input": [[]]}, "input[0]"),
    (Operation.EMBEDDINGS, {"input": [1, "x"]}, "input[0]"),
    (Operation.EMBEDDINGS, {"input": [["x"]]}, "input[0]"),
    (Operation.EMBEDDINGS, {"input": [1.5]}, "input[0]"),
    (Operation.EMBEDDINGS, {"input": "x", "dimensions": 0}, "dimensions"),
    (Operation.EMBEDDINGS, {"input": "x", "dimensions": 1.5}, "dimensions"),
    (Operation.EMBEDDINGS, {"input": "x", "encoding_format": "hex"}, "encoding_format"),
    (Operation.NATIVE_EMBEDDINGS, {}, "content"),
    (Operation.RERANK, {"documents": ["a"]}, "query"),
    (Operation.RERANK, {"query": "q"}, "documents"),
    (Operation.RERANK, {"query": 5, "documents": ["a"]}, "query"),
    (Operation.RERANK, {"query": "", "documents": ["a"]}, "query"),
    (Operation.RERANK, {"query": "q", "documents": []}, "documents"),
    (Operation.RERANK, {"query": "q", "documents": "a"}, "documents"),
    (Operation.RERANK, {"query": "q", "documents": ["a", 5]}, "documents[1]"),
    (Operation.RERANK, {"query": "q", "documents": [{}]}, "documents[0].text"),
    (Operation.RERANK, {"query": "q", "texts": [5]}, "texts[0]"),
    (Operation.RERANK, {"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
    (Operation.RERANK, {"query": "q", "documents": ["a"], "top_n": "x"}, "top_n"),
    (Operation.RERANK, {"query": "q", "documents": ["a"], "normalize": 1}, "normalize"),
    (Operation.MESSAGES, {}, "messages"),
    (Operation.MESSAGES, {"messages": []}, "messages"),
    (Operation.MESSAGES, {"messages": ["x"]}, "messages[0]"),
    (Operation.MESSAGES, {"messages": [{"role": "x", "content": "a"}]}, "messages[0].role"),
    (Operation.MESSAGES, user(5), "messages[0].content"),
    (Operation.MESSAGES, user([{"type": "text"}]), "messages[0].content[0].text"),
    (Operation.MESSAGES, {"messages": HI, "stop_sequences": "x"}, "stop_sequences"),
    (Operation.MESSAGES, {"messages": HI, "system": 5}, "system"),
    (Operation.MESSAGES, {"messages": HI, "max_tokens": "x"}, "max_tokens"),
    (Operation.MESSAGES, {"messages": HI, "tools": [{}]}, "tools[0].name"),
    (Operation.MESSAGES, {"messages": HI, "tools": [{"name": "f", "input_schema": 5}]}, "tools[0].input_schema"),
    (Operation.MESSAGES, {"messages": HI, "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice.name"),
    (Operation.RESPONSES, {}, "input"),
    (Operation.RESPONSES, {"input": []}, "input"),
    (Operation.RESPONSES, {"input": 5}, "input"),
    (Operation.RESPONSES, {"input": ["x"]}, "input[0]"),
    (Operation.RESPONSES, {"input": [{"role": "user"}]}, "input[0].content"),
    (Operation.RESPONSES, {"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    (Operation.RESPONSES, {"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
    (Operation.RESPONSES, {"input": [{"type": "teleport"}]}, "input[0].type"),
    (Operation.RESPONSES, {"input": "x", "instructions": 5}, "instructions"),
    (Operation.RESPONSES, {"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    (Operation.RESPONSES, {"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
    (Operation.RESPONSES, {"input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
]


@pytest.mark.parametrize(("operation", "body", "param"), REFUSED)
def test_refused_with_the_name_of_the_field(operation: Operation, body: JsonObject, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate(operation, body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.COMPLETION, {"prompt": "x", "echo": True}, "echo"),
        (Operation.COMPLETION, {"prompt": "x", "suffix": "y"}, "suffix"),
        (Operation.COMPLETION, {"prompt": "x", "best_of": 3, "n": 2}, "best_of"),
        (Operation.MESSAGES, user([{"type": "document", "source": {}}]), "messages[0].content[0]"),
        (Operation.RESPONSES, {"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        (Operation.RESPONSES, {"input": "x", "background": True}, "background"),
        (Operation.RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    ],
)
def test_what_the_engine_would_ignore_is_unsupported(operation: Operation, body: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        translate(operation, body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (Operation.COMPLETION, {"prompt": ["a", [1, 2]], "best_of": 1, "suffix": None}),
        (Operation.NATIVE_COMPLETION, {"prompt": ["a", {"prompt_string": "x"}], "n_predict": 0}),
        (Operation.INFILL, {"input_prefix": "a", "input_suffix": "b", "input_extra": []}),
        (Operation.TOKENIZE, {"content": ["a", 5]}),
        (Operation.DETOKENIZE, {"tokens": []}),
        (Operation.EMBEDDINGS, {"input": ["a", [1]], "encoding_format": "base64"}),
        (Operation.NATIVE_EMBEDDINGS, {"content": "a"}),
        (Operation.COUNT_TOKENS, {"messages": HI, "system": [{"type": "text", "text": "x"}]}),
    ],
)
def test_passes_untouched(operation: Operation, body: JsonObject) -> None:
    assert translate(operation, body) == Translation()
