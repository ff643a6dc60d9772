"""What becomes of the engine's answers, and of requests that it must see in another form."""

import base64
import json
import struct
from collections.abc import Iterable

import pytest
from pydantic import JsonValue

from providers.base import JsonObject, StreamTranslator
from providers.capabilities import Capability, Operation
from providers.errors import InvalidRequest
from providers.llamacpp.dialect import route
from providers.openai.rerank import logistic
from providers.spec import SlotSpec
from providers.sse import DONE, ServerSentEvent, SseParser

SLOT = SlotSpec(name="s", provider="llama.cpp", model="m", capabilities=(Capability.CHAT, Capability.VISION))
HI: list[JsonValue] = [{"role": "user", "content": "hi"}]
USAGE: JsonObject = {
    "prompt_tokens": 4,
    "completion_tokens": 2,
    "total_tokens": 6,
    "prompt_tokens_details": {"cached_tokens": 3},
}


def sent(operation: Operation, body: JsonObject) -> JsonObject:
    found = route(operation)
    assert found is not None and found.translate is not None
    request = found.translate(body, SLOT).request
    assert request is not None
    return request


def answered(operation: Operation, body: JsonObject, answer: JsonValue) -> JsonValue:
    found = route(operation)
    assert found is not None and found.translate is not None
    response = found.translate(body, SLOT).response
    return response(answer) if response else answer


def streamed(operation: Operation, body: JsonObject, events: Iterable[ServerSentEvent]) -> list[JsonObject]:
    found = route(operation)
    assert found is not None and found.translate is not None
    stream: StreamTranslator | None = found.translate(body, SLOT).stream
    assert stream is not None
    out = b"".join(stream.feed(event.encode()) for event in events) + stream.finish()
    return [json.loads(event.data) for event in SseParser().feed(out) if event.data != DONE]


class TestResponseRequests:
    def test_items_become_messages(self) -> None:
        items: list[JsonValue] = [
            {"role": "developer", "content": "be brief"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "rain"},
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "rain"}, {"type": "refusal", "refusal": "."}],
            },
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]},
        ]
        calls: list[JsonValue] = [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]
        assert sent(Operation.RESPONSES, {"input": items, "instructions": "you are"})["messages"] == [
            {"role": "system", "content": "you are"},
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
            {"role": "assistant", "content": "rain."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]},
        ]

    def test_fields_become_those_of_chat(self) -> None:
        request = sent(
            Operation.RESPONSES,
            {
                "model": "s",
                "input": "hi",
                "stream": True,
                "max_output_tokens": 5,
                "reasoning": {"effort": "low"},
                "temperature": 0.5,
                "min_p": 0.1,
                "metadata": {"a": "b"},
                "store": True,
                "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
                "tools": [{"type": "function", "name": "f", "strict": True}, {"type": "web_search"}],
                "tool_choice": {"type": "function", "name": "f"},
            },
        )
        assert request == {
            "model": "s",
            "messages": HI,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 5,
            "reasoning_effort": "low",
            "temperature": 0.5,
            "min_p": 0.1,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object"}},
            },
            "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
            "tool_choice": "required",
        }


class TestResponseAnswers:
    def test_reasoning_text_and_calls_are_items(self) -> None:
        message: JsonObject = {
            "role": "assistant",
            "reasoning_content": "hm",
            "content": "hi",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }
        completion: JsonObject = {"choices": [{"finish_reason": "length", "message": message}], "usage": USAGE}
        answer = answered(Operation.RESPONSES, {"model": "s", "input": "hi"}, completion)
        assert isinstance(answer, dict) and isinstance(answer["output"], list)
        kinds = [(item["type"], item["status"]) for item in answer["output"] if isinstance(item, dict)]
        assert kinds == [("reasoning", "completed"), ("message", "completed"), ("function_call", "incomplete")]
        assert answer["status"] == "incomplete" and answer["incomplete_details"] == {"reason": "max_output_tokens"}
        assert answer["usage"] == {
            "input_tokens": 4,
            "input_tokens_details": {"cached_tokens": 3},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 6,
        }

    def test_no_choice_is_a_failure(self) -> None:
        answer = answered(Operation.RESPONSES, {"input": "hi"}, {})
        assert isinstance(answer, dict) and answer["status"] == "failed" and answer["error"]


def chunk(finish: str | None = None, **delta: JsonValue) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({"choices": [{"index": 0, "finish_reason": finish, "delta": delta}]}))


def call(index: int, **function: JsonValue) -> JsonValue:
    return [{"index": index, "id": f"id{index}", "type": "function", "function": function}]


class TestResponseStreams:
    BODY: JsonObject = {"model": "s", "input": "hi", "stream": True}

    def test_items_open_and_close_in_order(self) -> None:
        events = streamed(
            Operation.RESPONSES,
            self.BODY,
            [
                chunk(role="assistant", content=None),
                chunk(reasoning_content="h"),
                chunk(reasoning_content="m"),
                chunk(content="hi"),
                chunk(tool_calls=call(0, name="f", arguments="{")),
                chunk(tool_calls=call(0, arguments="}")),
                chunk(tool_calls=call(1, name="g", arguments="{}")),
                chunk("tool_calls"),
                ServerSentEvent(json.dumps({"choices": [], "usage": USAGE})),
                ServerSentEvent(DONE),
            ],
        )
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [(event["type"], event.get("output_index")) for event in events if event["type"] != "x"] == [
            ("response.created", None),
            ("response.in_progress", None),
            ("response.output_item.added", 0),
            ("response.reasoning_text.delta", 0),
            ("response.reasoning_text.delta", 0),
            ("response.reasoning_text.done", 0),
            ("response.output_item.done", 0),
            ("response.output_item.added", 1),
            ("response.content_part.added", 1),
            ("response.output_text.delta", 1),
            ("response.output_text.done", 1),
            ("response.content_part.done", 1),
            ("response.output_item.done", 1),
            ("response.output_item.added", 2),
            ("response.function_call_arguments.delta", 2),
            ("response.function_call_arguments.delta", 2),
            ("response.function_call_arguments.done", 2),
            ("response.output_item.done", 2),
            ("response.output_item.added", 3),
            ("response.function_call_arguments.delta", 3),
            ("response.function_call_arguments.done", 3),
            ("response.output_item.done", 3),
            ("response.completed", None),
        ]
        final = events[-1]["response"]
        assert isinstance(final, dict) and isinstance(final["output"], list) and len(final["output"]) == 4

    def test_an_empty_answer_has_an_empty_message(self) -> None:
        events = streamed(Operation.RESPONSES, self.BODY, [chunk("stop"), ServerSentEvent(DONE)])
        final = events[-1]["response"]
        assert isinstance(final, dict) and final["status"] == "completed"
        assert isinstance(final["output"], list) and len(final["output"]) == 1

    @pytest.mark.parametrize(
        "last", [[], [ServerSentEvent(json.dumps({"error": {"code": 500, "message": "it broke", "type": "x"}}))]]
    )
    def test_an_answer_that_breaks_off_has_failed(self, last: list[ServerSentEvent]) -> None:
        events = streamed(Operation.RESPONSES, self.BODY, [chunk(content="h"), *last])
        final = events[-1]["response"]
        assert events[-1]["type"] == "response.failed" and isinstance(final, dict) and final["error"]

    def test_the_end_is_told_even_without_its_mark(self) -> None:
        assert (
            streamed(Operation.RESPONSES, self.BODY, [chunk("length", content="h")])[-1]["type"]
            == "response.incomplete"
        )


class TestMessages:
    BODY: JsonObject = {"messages": HI, "stop_sequences": ["x"]}

    @pytest.mark.parametrize(
        ("reason", "sequence", "told"),
        [("end_turn", "x", "stop_sequence"), ("end_turn", None, "end_turn"), ("max_tokens", None, "max_tokens")],
    )
    def test_stop_reason(self, reason: str, sequence: str | None, told: str) -> None:
        fields: JsonObject = {"stop_reason": reason, "stop_sequence": sequence}
        answer = answered(Operation.MESSAGES, self.BODY, dict(fields))
        assert answer == {"stop_reason": told, "stop_sequence": sequence}
        event = ServerSentEvent(json.dumps({"type": "message_delta", "delta": fields}), "message_delta")
        assert streamed(Operation.MESSAGES, self.BODY, [event])[0]["delta"] == answer

    def test_a_block_that_never_opened_does_not_close(self) -> None:
        stop = ServerSentEvent('{"type":"content_block_stop","index":0}', "content_block_stop")
        start = ServerSentEvent('{"type":"content_block_start","index":0,"content_block":{}}', "content_block_start")
        assert streamed(Operation.MESSAGES, self.BODY, [stop]) == []
        assert len(streamed(Operation.MESSAGES, self.BODY, [start, stop])) == 2

    def test_a_tool_starts_with_an_input(self) -> None:
        block: JsonObject = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}
        [event] = streamed(Operation.MESSAGES, self.BODY, [ServerSentEvent(json.dumps(block), "content_block_start")])
        assert event["content_block"] == {"type": "tool_use", "input": {}}

    def test_an_error_wears_anthropics_envelope(self) -> None:
        error = ServerSentEvent('{"code":500,"message":"it broke","type":"server_error"}', "error")
        [event] = streamed(Operation.MESSAGES, self.BODY, [error])
        assert event == {"type": "error", "error": {"type": "api_error", "message": "it broke"}}


class TestCompletions:
    TOKEN: JsonObject = {"token": "ab", "logprob": -1.0, "top_logprobs": [{"token": "ab", "logprob": -1.0}]}

    def test_log_probabilities(self) -> None:
        content: list[JsonValue] = [self.TOKEN, self.TOKEN]
        choice: JsonObject = {"index": 0, "text": "abab", "logprobs": {"content": content}}
        answer = answered(Operation.COMPLETION, {"prompt": "x", "logprobs": 1}, {"choices": [choice]})
        assert answer == {
            "choices": [
                {
                    "index": 0,
                    "text": "abab",
                    "logprobs": {
                        "tokens": ["ab", "ab"],
                        "token_logprobs": [-1.0, -1.0],
                        "top_logprobs": [{"ab": -1.0}, {"ab": -1.0}],
                        "text_offset": [0, 2],
                    },
                }
            ]
        }

    def test_none_without_being_asked(self) -> None:
        found = route(Operation.COMPLETION)
        assert found is not None and found.translate is not None
        assert found.translate({"prompt": "x", "logprobs": False}, SLOT).response is None


class TestEmbeddings:
    def shortened(self, embedding: JsonValue, dimensions: int) -> JsonValue:
        body: JsonObject = {"input": "x", "dimensions": dimensions}
        answer = answered(Operation.EMBEDDINGS, body, {"data": [{"index": 0, "embedding": embedding}]})
        assert isinstance(answer, dict) and isinstance(answer["data"], list)
        [item] = answer["data"]
        assert isinstance(item, dict)
        return item["embedding"]

    def test_cut_and_of_length_one(self) -> None:
        assert self.shortened([3.0, 4.0, 5.0], 2) == pytest.approx([0.6, 0.8])
        packed = self.shortened(base64.b64encode(struct.pack("<3f", 3, 4, 5)).decode(), 2)
        assert struct.unpack("<2f", base64.b64decode(str(packed))) == pytest.approx((0.6, 0.8))

    def test_zeros_stay_zeros(self) -> None:
        assert self.shortened([0.0, 0.0, 1.0], 2) == [0.0, 0.0]

    def test_too_many(self) -> None:
        with pytest.raises(InvalidRequest, match="this model has 3"):
            self.shortened([3.0, 4.0, 5.0], 4)

    def test_null_encoding_is_the_default(self) -> None:
        assert sent(Operation.EMBEDDINGS, {"input": "x", "encoding_format": None})["encoding_format"] == "float"


class TestRerank:
    ANSWER: JsonObject = {
        "model": "s",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "results": [{"index": 1, "relevance_score": -2.0}, {"index": 0, "relevance_score": 0.0}],
    }
    BODY: JsonObject = {"model": "s", "query": "q", "documents": ["a", {"text": "b"}]}

    def test_documents_reach_the_engine_as_strings(self) -> None:
        body = self.BODY | {"top_n": 1, "return_documents": True, "normalize": True}
        assert sent(Operation.RERANK, body) == {"model": "s", "query": "q", "documents": ["a", "b"], "top_n": 1}

    def test_best_first(self) -> None:
        answer = answered(Operation.RERANK, self.BODY, self.ANSWER)
        assert isinstance(answer, dict) and str(answer["id"]).startswith("rerank-")
        assert answer["results"] == [{"index": 0, "relevance_score": 0.0}, {"index": 1, "relevance_score": -2.0}]
        assert answer["usage"] == self.ANSWER["usage"] and answer["meta"] and answer["object"] == "list"

    def test_normalized_with_documents(self) -> None:
        answer = answered(Operation.RERANK, self.BODY | {"normalize": True, "return_documents": True}, self.ANSWER)
        assert isinstance(answer, dict) and isinstance(answer["results"], list)
        assert answer["results"][0] == {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}}

    @pytest.mark.parametrize(("extra", "first"), [({}, 0.0), ({"raw_scores": False}, 0.5), ({"raw_scores": True}, 0.0)])
    def test_tei(self, extra: JsonObject, first: float) -> None:
        body: JsonObject = {"query": "q", "texts": ["a", "b"], "return_text": True, **extra}
        answer = answered(Operation.RERANK, body, self.ANSWER)
        assert isinstance(answer, list) and answer[0] == {"index": 0, "score": first, "text": "a"}

    @pytest.mark.parametrize(("logit", "share"), [(-1e4, 0.0), (0.0, 0.5), (1e4, 1.0)])
    def test_logistic_never_overflows(self, logit: float, share: float) -> None:
        assert logistic(logit) == share
