"""What stands between clients and vLLM. Bodies of vLLM's are recorded from 0.32 on the CPU."""

import json
from typing import Any

import pytest

from providers.capabilities import Operation
from providers.errors import InvalidRequest, UnsupportedRequest
from providers.vllm.dialect.errors import engine_error
from providers.vllm.dialect.routes import route
from providers.vllm.options import VllmSlot

USER = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
WITH_TOOLS = {"tool_call_parser": "hermes"}


def slot(**more: Any) -> VllmSlot:
    given = {"name": "s", "provider": "vllm", "model": "m", "capabilities": ["chat"], "device": "cpu"}
    return VllmSlot.model_validate(given | more)


def translated(operation: Operation, body: dict[str, Any], **options: Any) -> Any:
    found = route(operation)
    assert found is not None and found.translate is not None
    return found.translate({"model": "s"} | body, slot(options=options))


def test_a_chat_that_it_knows_passes_untouched() -> None:
    body = {"messages": USER, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}
    assert translated(Operation.CHAT, body, **WITH_TOOLS).request is None
    assert translated(Operation.CHAT, {"messages": USER, "max_tokens": 5}).response is None


def test_names_of_others_are_made_its_own() -> None:
    body = {"messages": USER, "max_tokens": -1, "repeat_penalty": 1.1}
    request = translated(Operation.CHAT, body).request
    assert request == {"model": "s", "messages": USER, "repetition_penalty": 1.1}


def test_a_choice_among_some_tools_is_made_of_these_alone() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}
    request = translated(Operation.CHAT, {"messages": USER, "tools": [TOOL, other], "tool_choice": choice}).request
    assert request["tools"] == [TOOL] and request["tool_choice"] == "required"


def test_tools_without_a_parser_are_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedRequest, match=r"options\.tool_call_parser"):
        translated(Operation.CHAT, {"messages": USER, "tools": [TOOL]})
    assert translated(Operation.CHAT, {"messages": USER, "tools": [TOOL], "tool_choice": "required"}).request is None


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": USER, "temperature": "hot"}])
def test_a_wrong_chat_is_refused_before_it_is_sent(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        translated(Operation.CHAT, body)


def test_more_tries_than_answers() -> None:
    with pytest.raises(UnsupportedRequest, match="best_of"):
        translated(Operation.COMPLETION, {"prompt": "a", "best_of": 2})


def test_reasoning_has_the_name_that_it_has_elsewhere() -> None:
    answer = {"choices": [{"message": {"content": "4", "reasoning": "2+2"}}]}
    respond = translated(Operation.CHAT, {"messages": USER}, reasoning_parser="qwen3").response
    assert respond(answer)["choices"][0]["message"] == {"content": "4", "reasoning_content": "2+2"}


CHUNK = b'data: {"choices":[{"delta":{"reasoning":"say \\"reasoning\\": no"}}]}\n\n'
RENAMED = b'data: {"choices":[{"delta":{"reasoning_content":"say \\"reasoning\\": no"}}]}\n\n'


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_reasoning_in_streams_wherever_they_are_cut(size: int) -> None:
    stream = translated(Operation.CHAT, {"messages": USER}).stream
    whole = CHUNK + b"data: [DONE]\n\n"
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert b"".join(map(stream.feed, pieces)) + stream.finish() == RENAMED + b"data: [DONE]\n\n"


def test_an_error_in_a_stream_has_openais_envelope() -> None:
    stream = translated(Operation.CHAT, {"messages": USER}).stream
    event = b'data: {"error": {"message": "EngineCore encountered an issue.", "type": "x", "param": null, "code": 500}}'
    out = stream.feed(event + b"\n\ndata: [DONE]\n\n")
    error = json.loads(out.split(b"\n\n")[0].removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "engine_died", None)
    assert out.endswith(b"\n\ndata: [DONE]\n\n")


def test_responses_over_chat() -> None:
    translation = translated(Operation.RESPONSES, {"input": "hi", "max_output_tokens": 9})
    assert translation.request["messages"] == USER and translation.request["max_tokens"] == 9
    answer = {"choices": [{"message": {"content": "4", "reasoning": "2+2"}, "finish_reason": "stop"}], "usage": {}}
    assert [item["type"] for item in translation.response(answer)["output"]] == ["reasoning", "message"]
    out = translation.stream.feed(CHUNK) + translation.stream.finish()
    assert b"response.reasoning_text.delta" in out


def test_embeddings_are_shortened_here() -> None:
    translation = translated(Operation.EMBEDDINGS, {"input": "a", "dimensions": 2, "encoding_format": None})
    assert translation.request == {"model": "s", "input": "a"}
    shown = translation.response({"data": [{"embedding": [3.0, 4.0, 12.0]}]})
    assert shown["data"][0]["embedding"] == [0.6, 0.8]
    assert translated(Operation.EMBEDDINGS, {"input": ["a", [1, 2]]}).request is None


@pytest.mark.parametrize("value", ["", [], 5, ["a", ""], [True]])
def test_inputs_that_are_none(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        translated(Operation.EMBEDDINGS, {"input": value})


RANKED = {"id": "x", "model": "s", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


@pytest.mark.parametrize("normalize", [True, False])
def test_reranking_asks_for_the_scores_that_are_wanted(normalize: bool) -> None:
    body = {"query": "q", "documents": ["a", {"text": "b"}], "normalize": normalize, "return_documents": True}
    translation = translated(Operation.RERANK, body)
    assert translation.request["use_activation"] is normalize and translation.request["documents"] == ["a", "b"]
    results = [{"index": 1, "document": {"text": "b"}, "relevance_score": 0.9}]
    shown = translation.response(RANKED | {"results": results})
    assert shown["results"] == [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]


def test_tokens_in_the_form_of_all_engines() -> None:
    translation = translated(Operation.TOKENIZE, {"content": "ab"})
    assert translation.request == {"model": "s", "prompt": "ab", "add_special_tokens": False}
    assert translation.response({"count": 2, "tokens": [1, 2]}) == {"tokens": [1, 2]}
    assert translated(Operation.TOKENIZE, {"messages": USER}).request is None
    assert translated(Operation.DETOKENIZE, {"tokens": [1]}).response({"prompt": "a"}) == {"content": "a"}
    for body in ({"content": "a", "with_pieces": True}, {"content": "a", "parse_special": False}):
        with pytest.raises(UnsupportedRequest):
            translated(Operation.TOKENIZE, body)


def said(message: str, code: int = 400, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "T", "param": param, "code": code}}).encode()


LONG = "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input tokens"
LIST = "1 validation error:\n  {'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a valid list'}"
QUOTED = "1 validation error:\n  {'type': 'x', 'loc': 'body.stop', 'msg': \"Input should be 'a'\", 'input': '5'}"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, said(LONG, 400, "input_tokens"), (400, "exceed_context_size_error", "context_length_exceeded", None)),
        (400, said(LIST, 400, "body.messages"), (400, "invalid_request_error", "invalid_value", "messages")),
        (400, said(QUOTED, 400, "body.stop"), (400, "invalid_request_error", "invalid_value", "stop")),
        (
            400,
            said("temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)", 400, "temperature"),
            (400, "invalid_request_error", "invalid_value", "temperature"),
        ),
        (
            400,
            said("s is not a multimodal model"),
            (400, "invalid_request_error", "unsupported_content", "messages"),
        ),
        (400, said("Grammar error: Invalid type"), (400, "invalid_request_error", "invalid_value", "response_format")),
        (401, b'{"error": "Unauthorized"}', (502, "server_error", "engine_refused", None)),
        (404, b'{"detail": "Not Found"}', (501, "not_supported_error", "not_supported", None)),
        (500, said("EngineCore encountered an issue. See stack trace"), (502, "server_error", "engine_died", None)),
        (500, said("Internal server error"), (500, "server_error", "engine_error", None)),
        (503, said("The engine is currently busy"), (503, "server_error", "overloaded", None)),
        (
            400,
            b'{"type": "error", "error": {"type": "BadRequestError", "message": "max_tokens must be positive"}}',
            (400, "invalid_request_error", None, None),
        ),
    ],
)
def test_errors(status: int, body: bytes, expected: tuple[Any, ...]) -> None:
    error = engine_error(status, body)
    assert (error.status, error.type, error.code, error.param) == expected


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (LIST, "Invalid 'messages': Input should be a valid list"),
        (QUOTED, "Invalid 'stop': Input should be 'a'"),
        ("n must be 1 (parameter=n, value=2)", "n must be 1"),
    ],
)
def test_words_of_its_insides_are_left_out(message: str, shown: str) -> None:
    assert engine_error(400, said(message)).message == shown
