"""Which requests FastFlowLM's dialect refuses before they reach a slot, and what becomes of the others."""

import base64

import pytest
from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.capabilities import Capability, Operation
from providers.errors import InvalidRequest, UnsupportedRequest
from providers.flm.dialect.embeddings import embedding_request, engine_body
from providers.flm.dialect.request import MOST_CANDIDATES, SETTINGS, chat_request
from providers.flm.dialect.routes import route
from providers.flm.options import FlmSlot

SLOT = FlmSlot(
    name="npu",
    provider="flm",
    model="qwen3:0.6b",
    capabilities=(Capability.CHAT, Capability.EMBEDDING, Capability.TRANSCRIPTION),
)
EYES = SLOT.model_copy(update={"capabilities": (Capability.CHAT, Capability.VISION)})
HI: list[JsonValue] = [{"role": "user", "content": "hi"}]
TOOL: JsonObject = {"type": "function", "function": {"name": "f"}}
OTHER: JsonObject = {"type": "function", "function": {"name": "g"}}
CALL: JsonObject = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0").decode()
WEBP = base64.b64encode(b"RIFF\0\0\0\0WEBP").decode()


def translate(operation: Operation, body: JsonObject, slot: FlmSlot = SLOT) -> Translation:
    found = route(operation)
    assert found is not None and found.translate is not None
    return found.translate(body, slot)


def sent(operation: Operation, body: JsonObject, slot: FlmSlot = SLOT) -> JsonObject:
    request = translate(operation, body, slot).request
    assert request is not None
    return request


def chat(fields: JsonObject, slot: FlmSlot = SLOT) -> JsonObject:
    return sent(Operation.CHAT, {"model": "npu", "messages": HI, **fields}, slot)


def messages(*given: JsonObject, slot: FlmSlot = SLOT) -> JsonValue:
    return chat({"messages": [*given]}, slot)["messages"]


def picture(url: str) -> JsonObject:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize("operation", Operation)
def test_routes_are_of_what_it_can_do(operation: Operation) -> None:
    offered = {
        *(Operation.CHAT, Operation.RESPONSES, Operation.EMBEDDINGS),
        *(Operation.TRANSCRIPTION, Operation.REALTIME),
    }
    assert (route(operation) is not None) == (operation in offered)


UNSUPPORTED: list[tuple[JsonObject, str]] = [
    ({"n": 2}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}, "response_format"),
    ({"json_schema": {"type": "object"}}, "json_schema"),
    ({"grammar": 'root ::= "a"'}, "grammar"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0]"),
    (
        {"messages": [*HI, {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]},
        "messages[1].content[0]",
    ),
]


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED)
def test_what_it_cannot_do_is_refused_with_advice(fields: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        chat(fields)
    assert refused.value.param == param
    assert any(sign in refused.value.message for sign in (":", "use "))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
        ({"modalities": "text"}, "modalities"),
        ({"web_search_options": True}, "web_search_options"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"think": "yes"}, "think"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        ({"tool_choice": "maybe"}, "tool_choice"),
    ],
)
def test_what_is_wrong_is_refused(fields: JsonObject, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(fields)
    assert refused.value.param == param and refused.value.code


@pytest.mark.parametrize(
    ("operation", "fields", "param", "code", "allowed"),
    [
        (Operation.CHAT, {"messages": HI, "stop": ["a"] * 17}, "stop", "array_above_max_length", "length 16,"),
        (Operation.CHAT, {"messages": HI, "stop": "a" * 1001}, "stop", "string_above_max_length", "length 1000,"),
        (Operation.CHAT, {"messages": HI, "stop": ["a", "a" * 1001]}, "stop[1]", "string_above_max_length", "1000,"),
        (Operation.RESPONSES, {"input": "hi", "stop": ["a"] * 17}, "stop", "array_above_max_length", "length 16,"),
        (Operation.EMBEDDINGS, {"input": ["a"] * 2049}, "input", "array_above_max_length", "length 2048,"),
    ],
)
def test_what_is_too_much_is_refused_with_what_is_allowed(
    operation: Operation, fields: JsonObject, param: str, code: str, allowed: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(operation, fields)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert allowed in refused.value.message


@pytest.mark.parametrize(
    ("url", "slot", "code"),
    [
        (f"data:image/png;base64,{PNG}", SLOT, "unsupported_content"),
        ("https://example.org/cat.png", EYES, "unsupported_image_url"),
        (f"data:image/webp;base64,{WEBP}", EYES, "unsupported_image_type"),
        (f"data:image/png;base64,{WEBP}", EYES, "unsupported_image_type"),
        ("data:image/png;base64,no!", EYES, "invalid_image"),
    ],
)
def test_pictures_it_cannot_see_are_refused(url: str, slot: FlmSlot, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(Operation.CHAT, picture(url), slot)
    assert refused.value.code == code and str(refused.value.param).startswith("messages[0].content[0]")


@pytest.mark.parametrize(
    ("url", "known"),
    [
        (f"data:image/png;base64,{PNG}", f"data:image/png;base64,{PNG}"),
        (f"DATA:IMAGE/JPG;charset=x;BASE64,{JPEG}", f"data:image/jpeg;base64,{JPEG}"),
        (f"data:image/png;base64,{JPEG}", f"data:image/jpeg;base64,{JPEG}"),
    ],
)
def test_pictures_get_the_beginning_that_it_knows(url: str, known: str) -> None:
    expected = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": known}}]}]
    assert sent(Operation.CHAT, picture(url), EYES)["messages"] == expected


def test_fields_without_effect_and_nulls_are_dropped() -> None:
    dropped: JsonObject = {"seed": 1, "user": "x", "store": True, "metadata": {"a": "b"}, "parallel_tool_calls": False}
    dropped |= {"service_tier": "auto", "prompt_cache_key": "k", "some_new_field": {"x": 1}, "min_p": 0.5, "n": 1}
    dropped |= {"modalities": ["text"], "web_search_options": None}
    dropped |= {"max_tokens": None, "temperature": None, "stop": None, "tools": None, "stream": None, "think": None}
    dropped |= {"logprobs": False, "logit_bias": {}, "response_format": {"type": "text"}, "tool_choice": "auto"}
    assert chat(dropped) == {"model": "npu", "messages": HI}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 7, "max_tokens": 5}, {"max_tokens": 7}),
        ({"max_tokens": -1}, {}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop": ["a", "", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": ""}, {}),
        ({"stop": ["a" * 1000] * 16},) * 2,
        ({"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"stream": True, "stream_options": {"include_usage": True}},) * 2,
        ({"reasoning_effort": "none"}, {"think": False, "reasoning_effort": "low"}),
        ({"reasoning_effort": "minimal"}, {"think": False, "reasoning_effort": "low"}),
        ({"reasoning_effort": "high"}, {"think": True, "reasoning_effort": "high"}),
        ({"reasoning_effort": "xhigh"}, {"think": True, "reasoning_effort": "high"}),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"think": True}),
        ({"chat_template_kwargs": {"enable_thinking": True}, "think": False}, {"think": False}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"tools": []}, {}),
        (
            {
                "tools": [TOOL, OTHER],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
            },
            {"tools": [OTHER]},
        ),
    ],
)
def test_fields_become_what_it_reads(fields: JsonObject, expected: JsonObject) -> None:
    assert chat(fields) == {"model": "npu", "messages": HI} | expected


def test_messages_become_what_it_reads() -> None:
    parts: list[JsonValue] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages(
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm", "refusal": None},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "sunny"}]},
    ) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]


def test_neighbours_that_it_merges_are_set_apart() -> None:
    seen: JsonObject = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    contents: list[JsonValue] = ["a", "b", [seen]]
    three: list[JsonObject] = [{"role": "user", "content": content} for content in contents]
    apart = messages(*three, slot=EYES)
    assert isinstance(apart, list)
    assert [m["content"] for m in apart if isinstance(m, dict)] == [
        "a",
        "\n\nb",
        [{"type": "text", "text": "\n\n"}, seen],
    ]


def test_responses_become_a_chat_that_it_reads() -> None:
    body: JsonObject = {
        "model": "npu",
        "instructions": "be brief",
        "input": "hi",
        "stream": True,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "store": False,
        "temperature": 0.5,
    }
    assert sent(Operation.RESPONSES, body) == {
        "model": "npu",
        "messages": [{"role": "system", "content": "be brief"}, *HI],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "think": True,
        "reasoning_effort": "low",
        "temperature": 0.5,
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": "required"}, "tool_choice"),
        ({"previous_response_id": "x"}, "previous_response_id"),
    ],
)
def test_responses_refuse_what_it_cannot_do(fields: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedRequest) as refused:
        sent(Operation.RESPONSES, {"input": "hi", **fields})
    assert refused.value.param == param


def test_the_engine_gets_its_tag_and_all_settings_each_time() -> None:
    request = chat_request(chat({"stop": "x"}), SLOT)
    assert request.engine == {
        "model": "qwen3:0.6b",
        "messages": HI,
        "stream": True,
        "max_tokens": SLOT.context_size,
        **SETTINGS,
    }
    assert (request.stream, request.include_usage, request.stop, request.max_tokens) == (False, False, ("x",), None)
    assert request.model == "npu"


@pytest.mark.parametrize(
    ("fields", "top_k"),
    [
        ({}, SETTINGS["top_k"]),
        ({"top_k": 7}, 7),
        ({"top_k": 0}, MOST_CANDIDATES),
        ({"top_k": -1}, MOST_CANDIDATES),
        ({"top_k": 10**9}, MOST_CANDIDATES),
        ({"temperature": 0, "top_k": 7}, 1),
        ({"temperature": 1e-30}, 1),
    ],
)
def test_candidates_stay_where_its_sampler_is_defined(fields: JsonObject, top_k: int) -> None:
    assert chat_request(chat(fields), SLOT).engine["top_k"] == top_k


@pytest.mark.parametrize("body", [{}, {"messages": []}])
def test_a_chat_without_messages_is_refused_by_the_front_too(body: JsonObject) -> None:
    with pytest.raises(InvalidRequest):
        chat_request(body, SLOT)


EMBEDDINGS_REFUSED: list[tuple[JsonObject, str, type[InvalidRequest]]] = [
    ({}, "input", InvalidRequest),
    ({"input": ""}, "input", InvalidRequest),
    ({"input": []}, "input", InvalidRequest),
    ({"input": ["x", ""]}, "input[1]", InvalidRequest),
    ({"input": {"x": 1}}, "input", InvalidRequest),
    ({"input": [None]}, "input[0]", InvalidRequest),
    ({"input": [1, 2]}, "input[0]", UnsupportedRequest),
    ({"input": [[1, 2]]}, "input[0]", UnsupportedRequest),
    ({"input": "x", "encoding_format": "hex"}, "encoding_format", InvalidRequest),
    ({"input": "x", "dimensions": 100}, "dimensions", UnsupportedRequest),
    ({"input": "x", "dimensions": "256"}, "dimensions", InvalidRequest),
]


@pytest.mark.parametrize(("body", "param", "kind"), EMBEDDINGS_REFUSED)
def test_embeddings_refuse(body: JsonObject, param: str, kind: type[InvalidRequest]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(Operation.EMBEDDINGS, body)
    assert refused.value.param == param and type(refused.value) is kind


def test_embeddings_of_as_many_texts_as_openai_allows() -> None:
    assert sent(Operation.EMBEDDINGS, {"input": ["a"] * 2048})["input"] == ["a"] * 2048


def test_embeddings_are_asked_of_its_one_model() -> None:
    asked: JsonObject = {"input": "x", "dimensions": 256, "encoding_format": "base64", "user": "u", "model": "npu"}
    request = embedding_request(sent(Operation.EMBEDDINGS, asked), SLOT)
    assert engine_body(request.texts) == {"model": "embed-gemma:300m", "input": ["x"]}
    assert (request.dimensions, request.encoding_format, request.model) == (256, "base64", "npu")
