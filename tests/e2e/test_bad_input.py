"""Bad input: each a clear envelope, never a traceback, and nothing is lost for the next client."""

import http.client
import json

import pytest

from tests.e2e.demo import CHAT, config, make_models
from tests.support.server import Record, Server, ServerPark

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
EMBED = "{name: embed, provider: llama.cpp, model: demo/tiny-embed.gguf, capabilities: [embedding], context_size: 512}"
RERANK = "{name: rerank, provider: llama.cpp, model: demo/tiny-rerank.gguf, capabilities: [rerank], context_size: 512}"
KEY = "a-secret-key"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    text = config(f"[{CHAT}, {EMBED}, {RERANK}]", ingress="{max_body_mib: 1}")
    return servers.running(text, env={"HAL0_API_KEYS": KEY}, prepare=make_models)


def error_of(answer: Record) -> Record:
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and "Traceback" not in error["message"]
    assert error["code"] is None or isinstance(error["code"], str)
    return dict(error)


def chat(**changes: object) -> bytes:
    body: Record = {"model": "chat", "messages": USER} | changes
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/v1/chat/completions", chat(model=...), 400, "missing_model", "chat, embed, rerank"),
        ("/v1/chat/completions", chat(model=7), 400, "invalid_type", "model"),
        ("/v1/chat/completions", chat(model="gpt-9"), 404, "model_not_found", "chat, embed, rerank"),
        ("/v1/chat/completions", chat(model="embed"), 400, "unsupported_capability", "Slots that can: chat."),
        ("/v1/embeddings", chat(input="a"), 400, "unsupported_capability", "Slots that can: embed."),
        ("/v1/rerank", chat(), 400, "unsupported_capability", "Slots that can: rerank."),
        ("/v1/chat/completions", b"{", 400, "invalid_json", "not valid JSON"),
        ("/v1/chat/completions", b"", 400, "invalid_json", "not valid JSON"),
        ("/v1/chat/completions", b"[1]", 400, "invalid_json", "must be a JSON object"),
        ("/v1/chat/completions", b'{"model": NaN}', 400, "invalid_json", "not valid JSON"),
        ("/v1/chat/completions", b'{"model": "chat\xff"}', 400, "invalid_json", "not valid JSON"),
        ("/v1/chat/completions", chat(messages=...), 400, None, "messages"),
        ("/v1/chat/completions", chat(messages=[]), 400, None, "messages"),
        ("/v1/chat/completions", chat(messages="hi"), 400, None, "messages"),
        ("/v1/chat/completions", chat(messages=[{"content": "hi"}]), 400, None, "role"),
        ("/v1/chat/completions", chat(stream="yes"), 400, None, "stream"),
        ("/v1/chat/completions", chat(temperature="hot"), 400, None, "temperature"),
        ("/v1/chat/completions", chat(tools=[{"type": "function"}]), 400, None, "tools"),
        ("/v1/chat/completions", chat(response_format=5), 400, None, "response_format"),
        ("/v1/chat/completions", chat(messages=[{"role": "user", "content": "word " * 9000}]), 400, None, "context"),
        ("/v1/completions", chat(prompt="word " * 9000), 400, None, "context"),
        ("/v1/embeddings", b'{"model": "embed"}', 400, None, "input"),
        ("/v1/embeddings", b'{"model": "embed", "input": {}}', 400, None, "input"),
        ("/v1/embeddings", b'{"model": "embed", "input": "a", "dimensions": -1}', 400, None, "dimensions"),
        ("/v1/embeddings", b'{"model": "embed", "input": "' + b"dog " * 3000 + b'"}', 400, None, ""),
        ("/v1/rerank", b'{"model": "rerank", "query": "a"}', 400, None, "documents"),
        ("/v1/rerank", b'{"model": "rerank", "query": "a", "documents": ["b"], "top_n": -1}', 400, None, "top_n"),
        ("/v1/chat/completions", b'{"model": "' + b"x" * (1 << 20) + b'"}', 413, "request_too_large", "1 MiB"),
        ("/v1/nothing", b"{}", 404, "no_route", "/v1/models"),
        ("/v1/models", b"{}", 405, "method_not_allowed", "GET"),
    ],
)
def test_bad_requests(server: Server, path: str, body: bytes, status: int, code: str | None, words: str) -> None:
    got, answer, _ = server.post(path, body, AUTH)
    error = error_of(answer)
    assert got == status, error
    if code is not None:
        assert error["code"] == code
    assert words in error["message"] or words == error["param"], error


def test_a_body_over_the_limit_is_refused_without_being_read(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Length", str(10**9))
    connection.putheader("Authorization", AUTH["Authorization"])
    connection.endheaders(b"{")
    response = connection.getresponse()
    assert response.status == 413
    assert error_of(json.loads(response.read()))["code"] == "request_too_large"
    connection.close()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "no_api_key"),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Authorization": f"Basic {KEY}"}, "no_api_key"),
        ({"x-api-key": "wrong"}, "invalid_api_key"),
        ({"Authorization": "Bearer "}, "no_api_key"),
    ],
)
def test_missing_and_wrong_keys(server: Server, headers: dict[str, str], code: str) -> None:
    status, answer, _ = server.post("/v1/chat/completions", chat(), headers)
    error = error_of(answer)
    assert (status, error["code"], error["type"]) == (401, code, "authentication_error")
    assert KEY not in error["message"]


@pytest.mark.parametrize("headers", [AUTH, {"x-api-key": KEY}])
def test_a_key_opens(server: Server, headers: dict[str, str]) -> None:
    status, answer, _ = server.post("/v1/chat/completions", chat(), headers)
    assert status == 200, answer


def test_health_needs_no_key_and_tells_nothing(server: Server) -> None:
    assert server.get("/health") == {"status": "ok"}


def test_anthropic_clients_get_their_own_envelope(server: Server) -> None:
    status, answer, _ = server.post("/v1/messages", b'{"model": "gpt-9"}', AUTH)
    assert (status, answer["type"], answer["error"]["type"]) == (404, "error", "not_found_error")


def test_the_key_shows_nowhere(server: Server) -> None:
    assert KEY not in server.output()
    logs = [path.read_text() for path in (server.home / "logs").iterdir()]
    assert logs and KEY not in str(logs)
