"""`make demo` as its users see it: the official clients against a running server, every slot first cold, then warm."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from providers.tiny.tones import tones
from serve_app.config import load_config_file
from tests.e2e.demo import ROOT, demo
from tests.support.server import Server, ServerPark, eventually
from tests.support.wav import wav

pytestmark = pytest.mark.e2e

SCRIPT = "Hello from the tiny model!!"
USER = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CONFIGURED = load_config_file(ROOT / "configs" / "demo.yaml").serving.slots
SLOTS = [slot.name for slot in CONFIGURED]
TWICE = pytest.mark.parametrize("visit", ["cold", "warm"])


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    return demo(servers)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=60, max_retries=0) as client:
        yield client


def picture() -> str:
    """A 28x28 picture as a data URI."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(value for x in range(28) for value in (x * 9, y * 9, 128)) for y in range(28))
    header = struct.pack(">IIBBBBB", 28, 28, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


@TWICE
def test_chat(client: Any, visit: str) -> None:
    answer = client.chat.completions.create(model="chat", messages=USER)
    assert answer.choices[0].message.content == SCRIPT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens == 7


def test_streamed_chat(client: Any) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="chat", messages=USER, stream=True, stream_options=options))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SCRIPT
    assert chunks[-1].usage is not None


def test_tool_call(client: Any) -> None:
    answer = client.chat.completions.create(model="chat", messages=USER, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_json_schema(client: Any) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="chat", messages=USER, response_format=wanted, max_tokens=200)
    assert isinstance(json.loads(answer.choices[0].message.content)["ok"], bool)


def test_completion(client: Any) -> None:
    assert client.completions.create(model="chat", prompt="a\n", max_tokens=20).choices[0].text == SCRIPT


def test_response_and_its_stream(client: Any) -> None:
    assert client.responses.create(model="chat", input="hi").output_text == SCRIPT
    with client.responses.stream(model="chat", input="hi") as stream:
        assert stream.get_final_response().output_text == SCRIPT


def test_messages_of_anthropic(server: Server) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as typed:
        client: Any = typed
        answer = client.messages.create(model="chat", max_tokens=50, messages=USER)
        assert answer.content[0].text == SCRIPT
        with client.messages.stream(model="chat", max_tokens=50, messages=USER) as stream:
            assert stream.get_final_text() == SCRIPT
        assert client.messages.count_tokens(model="chat", messages=USER).input_tokens > 0


@TWICE
def test_embeddings_as_floats_and_base64(client: Any, visit: str) -> None:
    floats = client.embeddings.create(model="embed", input=["hello world", "cat"], encoding_format="float")
    packed = client.embeddings.create(model="embed", input=["hello world", "cat"])
    assert [len(one.embedding) for one in floats.data] == [32, 32]
    for one, other in zip(floats.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


@TWICE
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/v1/reranking", "/v1/rerankings", "/rerank"])
def test_rerank(server: Server, path: str, visit: str) -> None:
    body = {"model": "rerank", "query": "paris", "documents": ["capital of france", {"text": "the cat"}], "top_n": 1}
    status, answer, _ = server.post(path, body | {"return_documents": True})
    assert status == 200
    assert {"id", "object", "model", "usage", "results", "meta"} <= set(answer)
    assert len(answer["results"]) == 1
    assert set(answer["results"][0]) == {"index", "relevance_score", "document"}


@TWICE
def test_a_picture_to_the_vision_slot(client: Any, visit: str) -> None:
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": picture()}}]
    answer = client.chat.completions.create(model="vision", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == SCRIPT


@TWICE
def test_the_endless_slot_stops_where_it_is_told(client: Any, visit: str) -> None:
    answer = client.chat.completions.create(model="loop", messages=USER, max_tokens=10)
    assert answer.choices[0].finish_reason == "length"


def test_models_and_their_names(client: Any) -> None:
    names = [name for slot in CONFIGURED for name in (slot.name, *slot.role_aliases)]
    assert [model.id for model in client.models.list()] == names
    for name in ("chat", "hal0/chat", "demo/tiny-embed.gguf"):
        assert client.models.retrieve(name).id == name
    assert client.chat.completions.create(model="hal0/chat", messages=USER).choices[0].message.content == SCRIPT
    with pytest.raises(openai.NotFoundError, match=", ".join(SLOTS)):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/chat/completions", {"messages": USER}, "choices"),
        ("/completion", {"prompt": "a\n", "n_predict": 3}, "content"),
        ("/completions", {"prompt": "a\n", "n_predict": 3}, "content"),
        ("/responses", {"input": "hi"}, "output"),
        ("/messages", {"messages": USER, "max_tokens": 9}, "content"),
        ("/v1/messages/count_tokens", {"messages": USER}, "input_tokens"),
        ("/tokenize", {"content": "hello"}, "tokens"),
        ("/detokenize", {"tokens": [270, 271]}, "content"),
        ("/apply-template", {"messages": USER}, "prompt"),
    ],
)
def test_llama_servers_own_routes(server: Server, path: str, body: dict[str, object], key: str) -> None:
    status, answer, _ = server.post(path, {"model": "chat"} | body)
    assert (status, key in answer) == (200, True), answer


@pytest.mark.parametrize("path", ["/embedding", "/embeddings"])
def test_llama_servers_own_embeddings(server: Server, path: str) -> None:
    status, answer, _ = server.post(path, {"model": "embed", "input": "hello"})
    assert status == 200 and answer


def test_engine_properties(server: Server) -> None:
    assert server.get("/props?model=chat")["total_slots"] == 4
    assert len(server.get("/slots?model=chat")) == 4


def test_health_and_slots(server: Server) -> None:
    assert server.get("/health") == {"status": "ok"}
    assert [slot["name"] for slot in server.get("/api/slots")["slots"]] == SLOTS
    server.wait_for_state("chat", "ready", "idle")
    record = server.slot("chat")
    assert record["device"] == "cpu" and record["replicas"] == 1 and record["load_seconds"] > 0


def test_request_ids_go_in_and_out(server: Server) -> None:
    _, _, headers = server.post("/tokenize", {"model": "chat", "content": "a"}, {"x-request-id": "mine-1"})
    assert headers.get_all("x-request-id") == ["mine-1"]
    log = server.home / "logs" / "ingress-0.jsonl"
    eventually("its line is written", lambda: log.exists() and "mine-1" in log.read_text(), 10)
    [line] = [json.loads(line) for line in log.read_text().splitlines() if "mine-1" in line]
    assert (line["path"], line["slot"], line["status"]) == ("/tokenize", "chat", 200)
    _, _, headers = server.post("/tokenize", {"model": "chat", "content": "a"})
    assert len(headers["x-request-id"]) >= 16


def test_the_roles_of_the_emulated_npu(client: Any) -> None:
    assert client.chat.completions.create(model="npu", messages=USER).choices[0].message.content == SCRIPT
    assert len(client.embeddings.create(model="embed-npu", input="hello").data[0].embedding) == 768
    sound = ("sound.wav", wav(tones(["echo", "golf"])))
    assert client.audio.transcriptions.create(model="stt-npu", file=sound).text == "echo golf"
