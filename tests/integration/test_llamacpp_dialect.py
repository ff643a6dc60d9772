"""Official clients against real llama.cpp engines through the dialect."""

import base64
import json
import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel, JsonValue

from providers.base import JsonObject
from providers.capabilities import Capability
from providers.llamacpp.dialect import route
from providers.spec import SlotSpec
from providers.tiny import make_demo_models
from tests.support.engine_process import running_engine
from tests.support.pictures import png_data_uri
from tests.support.relay import Upstream, running_relay

pytestmark = pytest.mark.engine

ANSWER = "Hello from the tiny model!!"
EMBEDDING_SIZE = 32
TOO_LONG = "x" * 4000
FUNCTION: JsonObject = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
OTHER: JsonObject = {"name": "other", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"a": {"const": 5}},
    "required": ["a"],
    "additionalProperties": False,
}
HI: list[JsonValue] = [{"role": "user", "content": "hi"}]


def slot(name: str, *capabilities: Capability) -> SlotSpec:
    return SlotSpec(name=name, provider="llama.cpp", model="tiny.gguf", capabilities=capabilities)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = make_demo_models(tmp_path_factory.mktemp("models"))
    text = (Capability.CHAT, Capability.COMPLETION)

    def path(name: str) -> Path:
        return next(model for model in models.values() if model.name == f"tiny-{name}.gguf")

    engines = (
        (slot("chat", *text), path("chat"), ("--context", "1024")),
        (slot("loop", *text), path("loop"), ()),
        (slot("eyes", *text, Capability.VISION), path("chat"), ("--mmproj", str(path("mmproj")))),
        (slot("embed", Capability.EMBEDDING), path("embed"), ("--embedding",)),
        (slot("rank", Capability.RERANK), path("rerank"), ("--rerank",)),
    )
    with ExitStack() as stack:
        upstreams = [
            Upstream(spec, str(stack.enter_context(running_engine(model, "--alias", spec.name, *options)).base_url))
            for spec, model, options in engines
        ]
        upstreams = [Upstream(upstream.slot, upstream.url.rstrip("/")) for upstream in upstreams]
        yield stack.enter_context(running_relay(upstreams, route))


@pytest.fixture(scope="module")
def client(relay: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{relay}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(relay: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=relay, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(relay: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=relay, timeout=60, trust_env=False) as client:
        yield client


class TestChat:
    def test_answer_names_the_slot(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == ANSWER
        assert answer.model == "chat"

    def test_stream_with_usage(self, client: openai.OpenAI) -> None:
        chunks = list(
            client.chat.completions.create(
                model="chat",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0

    def test_tool_call(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": "weather?"}],
            extra_body={"tools": [{"type": "function", "function": FUNCTION}]},
        )
        [call] = answer.choices[0].message.tool_calls or []
        assert answer.choices[0].finish_reason == "tool_calls"
        assert call.type == "function" and json.loads(call.function.arguments) == {"city": "Paris"}

    def test_a_named_tool_is_the_one_called(self, http: httpx.Client) -> None:
        tools: list[JsonValue] = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": OTHER}]
        choice: JsonObject = {"type": "function", "function": {"name": "other"}}
        answer = http.post(
            "/v1/chat/completions", json={"model": "chat", "messages": HI, "tools": tools, "tool_choice": choice}
        ).json()
        assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "other"

    def test_json_schema(self, client: openai.OpenAI) -> None:
        class Answer(BaseModel):
            yes: bool

        answer = client.chat.completions.parse(
            model="chat", messages=[{"role": "user", "content": "hi"}], response_format=Answer
        )
        assert isinstance(answer.choices[0].message.parsed, Answer)

    @pytest.mark.parametrize("top", [0, 2])
    def test_log_probabilities(self, client: openai.OpenAI, top: int) -> None:
        answer = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hi"}], logprobs=True, top_logprobs=top
        )
        found = answer.choices[0].logprobs
        assert found is not None and found.content
        assert "".join(token.token for token in found.content).startswith("Hello from")

    def test_more_answers_than_the_engine_has_room_for(self, client: openai.OpenAI) -> None:
        assert len(client.chat.completions.create(model="chat", messages=_hi(), n=2).choices) == 2
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="chat", messages=_hi(), n=99)
        assert refused.value.param == "n"

    def test_picture(self, http: httpx.Client) -> None:
        answer = http.post("/v1/chat/completions", json={"model": "eyes", "messages": _picture(png_data_uri(28, 28))})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/unreachable.png", "data:image/png;base64,AAAA", "nonsense", "file:///etc/hostname"]
    )
    def test_picture_that_cannot_be_had(self, http: httpx.Client, url: str) -> None:
        answer = http.post("/v1/chat/completions", json={"model": "eyes", "messages": _picture(url)})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"


class TestCompletions:
    def test_log_probabilities_in_the_form_of_completions(self, client: openai.OpenAI) -> None:
        answer = client.completions.create(model="chat", prompt="hi\n", logprobs=1)
        found = answer.choices[0].logprobs
        assert answer.choices[0].text == ANSWER
        assert found is not None and found.tokens is not None and found.text_offset is not None
        assert found.tokens[:2] == ["Hello", " from"] and found.text_offset[:2] == [0, 5]
        assert found.token_logprobs and found.top_logprobs and "Hello" in found.top_logprobs[0]

    def test_streamed_log_probabilities(self, client: openai.OpenAI) -> None:
        stream = client.completions.create(model="chat", prompt="hi\n", logprobs=0, stream=True)
        found = [c.choices[0].logprobs for c in stream if c.choices and c.choices[0].logprobs]
        assert [logprobs.text_offset for logprobs in found][:3] == [[0], [5], [10]]

    def test_streamed_log_probabilities_beside_a_stop_string(self, client: openai.OpenAI) -> None:
        stream = client.completions.create(model="chat", prompt="hi\n", logprobs=1, stop="tiny", stream=True)
        tokens = [t for c in stream for t in ((c.choices[0].logprobs and c.choices[0].logprobs.tokens) or [])]
        assert tokens[:3] == ["Hello", " from", " the"]

    def test_prompts_in_every_form(self, http: httpx.Client) -> None:
        for prompt in ("hi", ["a", "b"], [1, 70], [[1, 70], [71]]):
            assert http.post("/v1/completions", json={"model": "chat", "prompt": prompt}).status_code == 200


class TestResponses:
    def test_answer_is_whole(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(model="chat", input="hi", instructions="be brief", metadata={"k": "v"})
        assert answer.output_text == ANSWER and answer.status == "completed"
        assert answer.incomplete_details is None and answer.error is None
        assert (answer.tools, answer.tool_choice, answer.parallel_tool_calls) == ([], "auto", True)
        assert answer.metadata == {"k": "v"} and answer.instructions == "be brief" and answer.model == "chat"
        assert answer.usage is not None and answer.usage.input_tokens_details.cached_tokens >= 0
        assert answer.usage.output_tokens_details.reasoning_tokens == 0

    def test_cut_answer_is_incomplete(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(model="loop", input="hi", max_output_tokens=3)
        assert answer.status == "incomplete" and answer.incomplete_details is not None
        assert answer.incomplete_details.reason == "max_output_tokens"

    def test_answer_of_just_the_allowed_length_is_complete(self, client: openai.OpenAI) -> None:
        whole = client.responses.create(model="chat", input="hi")
        assert whole.usage is not None
        again = client.responses.create(model="chat", input="hi", max_output_tokens=whole.usage.output_tokens)
        assert again.status == "completed"

    def test_stream_helper(self, client: openai.OpenAI) -> None:
        with client.responses.stream(model="chat", input="hi") as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert final.output_text == ANSWER and final.status == "completed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER

    def test_cut_stream_is_incomplete(self, client: openai.OpenAI) -> None:
        events = list(client.responses.create(model="loop", input="hi", max_output_tokens=3, stream=True))
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.incomplete_details is not None and events[-1].response.usage is not None

    def test_stream_of_a_tool_call(self, client: openai.OpenAI) -> None:
        tools = [{"type": "function", **FUNCTION}]
        with client.responses.stream(model="chat", input="hi", extra_body={"tools": tools}) as stream:
            final = [event for event in stream if event.type == "response.completed"][0].response
        [call] = final.output
        assert call.type == "function_call" and call.name == "get_weather"
        assert json.loads(call.arguments) == {"city": "Paris"}

    def test_tool_call_and_its_result_go_back_in(self, client: openai.OpenAI) -> None:
        tools = [{"type": "function", **FUNCTION}]
        first = client.responses.create(model="chat", input="weather?", extra_body={"tools": tools})
        [call] = first.output
        assert call.type == "function_call"
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        history = [{"role": "user", "content": "weather?"}, call.model_dump(), result]
        second = client.responses.create(model="chat", extra_body={"input": history, "tools": tools})
        assert second.status == "completed" and second.tools[0].type == "function"

    def test_plain_conversation(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(
            model="chat",
            input=[
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "yes?"},
                {"role": "user", "content": [{"type": "input_text", "text": "go on"}]},
            ],
        )
        assert answer.output_text == ANSWER

    def test_text_format(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(
            model="chat",
            input="hi",
            extra_body={"text": {"format": {"type": "json_schema", "name": "five", "schema": SCHEMA}}},
        )
        assert json.loads(answer.output_text) == {"a": 5}
        assert answer.text is not None and answer.text.format is not None and answer.text.format.type == "json_schema"

    def test_log_probabilities(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(model="chat", input="hi", include=["message.output_text.logprobs"])
        [message] = answer.output
        assert message.type == "message" and message.content[0].type == "output_text" and message.content[0].logprobs

    def test_picture(self, http: httpx.Client) -> None:
        part: JsonObject = {"type": "input_image", "image_url": png_data_uri(28, 28)}
        asked: list[JsonValue] = [{"role": "user", "content": [{"type": "input_text", "text": "what?"}, part]}]
        assert http.post("/v1/responses", json={"model": "eyes", "input": asked}).status_code == 200
        refused = http.post("/v1/responses", json={"model": "chat", "input": asked})
        assert refused.status_code == 400 and "vision" in refused.json()["error"]["message"]


class TestMessages:
    def test_stop_sequence(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(
            model="chat", max_tokens=50, messages=[{"role": "user", "content": "hi"}], stop_sequences=["tiny"]
        )
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "tiny")

    def test_natural_end(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(model="chat", max_tokens=50, messages=[{"role": "user", "content": "hi"}])
        assert answer.content[0].type == "text" and answer.content[0].text == ANSWER
        assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)

    def test_stream(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.stream(
            model="chat", max_tokens=50, messages=[{"role": "user", "content": "hi"}], stop_sequences=["tiny"]
        ) as stream:
            assert "".join(stream.text_stream) == "Hello from the "
            final = stream.get_final_message()
        assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", "tiny")

    def test_stream_of_a_tool_call(self, claude: anthropic.Anthropic) -> None:
        tool = {"name": "get_weather", "input_schema": FUNCTION["parameters"]}
        with claude.messages.stream(
            model="chat",
            max_tokens=50,
            messages=[{"role": "user", "content": "hi"}],
            extra_body={"tools": [tool]},
        ) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert final.content[0].type == "tool_use" and final.content[0].input == {"city": "Paris"}

    def test_the_named_tool_or_none(self, claude: anthropic.Anthropic) -> None:
        tools = [{"name": name, "input_schema": FUNCTION["parameters"]} for name in ("get_weather", "other")]
        named, none = (
            claude.messages.create(
                model="chat",
                max_tokens=50,
                messages=[{"role": "user", "content": "hi"}],
                extra_body={"tools": tools, "tool_choice": choice},
            )
            for choice in ({"type": "tool", "name": "other"}, {"type": "none"})
        )
        assert named.content[0].type == "tool_use" and named.content[0].name == "other"
        assert none.content[0].type == "text"

    def test_stream_after_a_prefill(self, claude: anthropic.Anthropic) -> None:
        messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "well"}]
        with claude.messages.stream(
            model="chat", max_tokens=50, messages=[], extra_body={"messages": messages}
        ) as stream:
            assert stream.get_final_message().stop_reason == "end_turn"

    def test_count_tokens(self, claude: anthropic.Anthropic) -> None:
        counted = claude.messages.count_tokens(model="chat", messages=[{"role": "user", "content": "hi"}])
        assert counted.input_tokens > 0


class TestEmbeddings:
    def test_both_encodings_agree(self, client: openai.OpenAI) -> None:
        packed = client.embeddings.create(model="embed", input="cat")
        plain = client.embeddings.create(model="embed", input="cat", encoding_format="float")
        assert len(plain.data[0].embedding) == EMBEDDING_SIZE and plain.model == "embed"
        assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)

    def test_dimensions(self, http: httpx.Client) -> None:
        asked: JsonObject = {"model": "embed", "input": "cat"}
        [whole, plain, packed] = (
            http.post("/v1/embeddings", json=asked | extra).json()["data"][0]["embedding"]
            for extra in ({}, {"dimensions": 8}, {"dimensions": 8, "encoding_format": "base64"})
        )
        length = math.sqrt(sum(value * value for value in whole[:8]))
        expected = [value / length for value in whole[:8]]
        assert plain == pytest.approx(expected, abs=1e-6)
        assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(expected, abs=1e-6)

    def test_more_dimensions_than_the_model_has(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="this model has 32") as refused:
            client.embeddings.create(model="embed", input="cat", dimensions=EMBEDDING_SIZE + 1)
        assert refused.value.param == "dimensions"

    def test_inputs_in_every_form(self, http: httpx.Client) -> None:
        for given, count in (("cat", 1), (["cat", "dog"], 2), ([1, 5], 1), ([[1, 5], [6]], 2)):
            answer = http.post("/v1/embeddings", json={"model": "embed", "input": given, "encoding_format": None})
            assert len(answer.json()["data"]) == count, answer.text


def results(answer: JsonValue) -> list[JsonObject]:
    assert isinstance(answer, dict) and isinstance(answer["results"], list)
    return [result for result in answer["results"] if isinstance(result, dict)]


class TestRerank:
    DOCUMENTS: list[JsonValue] = ["the cat", {"text": "paris money"}, "cat"]

    def rerank(self, http: httpx.Client, **fields: JsonValue) -> JsonValue:
        answer = http.post("/v1/rerank", json={"model": "rank", "query": "cat", **fields})
        assert answer.status_code == 200, answer.text
        found: JsonValue = answer.json()
        return found

    def test_one_answer_for_all_clients(self, http: httpx.Client) -> None:
        answer = self.rerank(http, documents=self.DOCUMENTS)
        assert isinstance(answer, dict) and answer["model"] == "rank"
        assert {"id", "object", "model", "usage", "results", "meta"} <= answer.keys()
        scores = [float(str(result["relevance_score"])) for result in results(answer)]
        assert scores == sorted(scores, reverse=True) and len(scores) == 3

    def test_documents_and_scores_as_asked(self, http: httpx.Client) -> None:
        raw = self.rerank(http, documents=self.DOCUMENTS)
        told = self.rerank(http, documents=self.DOCUMENTS, top_n=1, return_documents=True, normalize=True)
        [best], [first, *_] = results(told), results(raw)
        assert best["document"] == {"text": "the cat"} and "document" not in first
        assert best["relevance_score"] == pytest.approx(1 / (1 + math.exp(-float(str(first["relevance_score"])))))

    def test_tei(self, http: httpx.Client) -> None:
        answer = self.rerank(http, texts=["the cat", "paris money"], return_text=True)
        assert isinstance(answer, list) and len(answer) == 2
        best = answer[0]
        assert isinstance(best, dict) and best.keys() == {"index", "score", "text"} and best["text"] == "the cat"


def _hi() -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": "hi"}]


def _picture(url: JsonValue) -> list[JsonValue]:
    parts: list[JsonValue] = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def _chat(**fields: JsonValue) -> JsonObject:
    return {"model": "chat", "messages": HI, **fields}


def _tool(**function: JsonValue) -> JsonObject:
    return _chat(tools=[{"type": "function", "function": function}])


CHAT, COMPLETE, RESPOND, MESSAGE = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
BAD_JSON_SCHEMA: JsonObject = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "banana"}}}
BAD: list[tuple[str, JsonObject, str | None]] = [
    (CHAT, {"model": "chat"}, "messages"),
    (CHAT, _chat(messages=[]), "messages"),
    (CHAT, _chat(messages=[{"content": "x"}]), "messages[0].role"),
    (CHAT, _chat(messages=[{"role": 1, "content": "x"}]), "messages[0].role"),
    (CHAT, _chat(messages=_picture(None)), "messages[0].content[1]"),
    (CHAT, _chat(model="eyes", messages=_picture(None)), "messages[0].content[1].image_url.url"),
    (CHAT, _chat(messages=[{"role": "user", "content": TOO_LONG}]), None),
    (CHAT, _chat(messages=[{"role": "user", "content": TOO_LONG}], stream=True), None),
    (CHAT, _chat(messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]), "messages"),
    (CHAT, _chat(tools=5), "tools"),
    (CHAT, _chat(tools=[{"type": "function"}]), "tools[0].function"),
    (CHAT, _tool(name=5), "tools[0].function.name"),
    (CHAT, _tool(name="f", parameters={"type": "banana"}), None),
    (CHAT, _chat(response_format=BAD_JSON_SCHEMA), None),
    (CHAT, _chat(grammar="root ::= bad("), None),
    (COMPLETE, {"model": "chat", "prompt": [999999]}, None),
    (COMPLETE, {"model": "chat", "prompt": TOO_LONG}, None),
    (RESPOND, {"model": "chat", "input": TOO_LONG}, None),
    (MESSAGE, {"model": "chat", "messages": [{"role": "user", "content": TOO_LONG}], "max_tokens": 5}, None),
    ("/v1/embeddings", {"model": "embed", "input": "cat " * 2000}, None),
    ("/v1/embeddings", {"model": "embed", "input": [-1]}, None),
    ("/v1/embeddings", {"model": "embed", "input": "cat", "dimensions": -1}, "dimensions"),
    ("/v1/rerank", {"model": "rank", "query": "cat", "documents": ["cat " * 2000]}, None),
    ("/v1/rerank", {"model": "rank", "query": "cat", "documents": ["cat"], "top_n": -1}, "top_n"),
    ("/detokenize", {"model": "chat", "tokens": [99999999]}, "tokens"),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD)
def test_the_clients_mistake_is_400(http: httpx.Client, path: str, body: JsonObject, param: str | None) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param and isinstance(error["message"], str)
    if TOO_LONG in json.dumps(body):
        assert (error["type"], error["code"]) == ("exceed_context_size_error", "context_length_exceeded")


def test_native_routes_pass_through(http: httpx.Client) -> None:
    tokens = http.post("/tokenize", json={"model": "chat", "content": "hi"}).json()["tokens"]
    assert http.post("/detokenize", json={"model": "chat", "tokens": tokens}).json()["content"] == "hi"
    assert "hi" in http.post("/apply-template", json={"model": "chat", "messages": HI}).json()["prompt"]
    assert http.post("/completion", json={"model": "chat", "prompt": "hi\n"}).json()["content"] == ANSWER
    assert len(http.post("/embedding", json={"model": "embed", "content": "cat"}).json()) == 1
    assert http.get("/props", params={"model": "chat"}).json()["default_generation_settings"]
    assert len(http.get("/slots", params={"model": "chat"}).json()) == 2


def test_what_the_model_cannot_do_is_501(http: httpx.Client) -> None:
    answer = http.post("/infill", json={"model": "chat", "input_prefix": "a", "input_suffix": "b"})
    assert answer.status_code == 501 and answer.json()["error"]["type"] == "not_supported_error"
