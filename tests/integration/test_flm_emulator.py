"""The server of the emulated `flm`, as clients find it."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from providers.tiny.chat import TALKING, make_chat_model
from tests.support.engine_process import running_engine
from tests.support.flm import Serving, serving
from tests.support.flm_client import ANSWER, LONG, ROLES, TAG, ask, chat, open_stream, pulled, say, transcribe
from tests.support.server import eventually, free_port
from tests.support.tones import Speech
from tests.support.wav import wav

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled(tmp_path_factory.mktemp("flm"))


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Serving]:
    with serving(home, TAG, *ROLES, "--q-len", "2") as running:
        yield running


@pytest.fixture
def client(server: Serving) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_it_answers_the_openai_client_for_three_roles(client: OpenAI) -> None:
    chat = client.chat.completions.create(model=TAG, messages=[{"role": "user", "content": "Hi"}])
    assert chat.choices[0].message.content == ANSWER and chat.choices[0].finish_reason == "stop"
    assert chat.id == "fastflowlm-chat-completion" and chat.usage is not None and chat.usage.total_tokens > 0

    vectors = client.embeddings.create(model="any", input=["one", "two"], encoding_format="float")
    assert [len(item.embedding) for item in vectors.data] == [768, 768] and vectors.model == "any"
    assert vectors.usage.total_tokens == 0

    sound = wav(Speech(("delta", "alpha", "alpha")).samples())
    heard = client.audio.transcriptions.create(model="any", file=("a.wav", sound), response_format="verbose_json")
    assert heard.text == " delta alpha alpha"


def test_a_stream_ends_with_its_usage(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=TAG, messages=[{"role": "user", "content": "Hi"}], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]
    assert chunks[-1].usage is not None and chunks[-1].choices[0].delta.content is None
    assert "max_kv_token_capacity" in (chunks[-1].usage.model_extra or {})


def test_the_limit_lets_one_token_more_through(server: Serving) -> None:
    _, whole = ask(server, "POST /v1/chat/completions", say("Hi", max_tokens=1))
    assert isinstance(whole, dict)
    assert whole["choices"][0]["message"]["content"] == "Hello from"
    assert whole["choices"][0]["finish_reason"] == "stop" and whole["usage"]["completion_tokens"] == 1


def test_tools_are_called_with_an_index_that_grows(client: OpenAI, server: Serving) -> None:
    function = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    body = say("Hi", tools=[{"type": "function", "function": function}])
    _, whole = ask(server, "POST /v1/chat/completions", body)
    assert isinstance(whole, dict) and whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["choices"][0]["message"]["tool_calls"][0]["function"] == {
        "name": "get_weather",
        "arguments": '{"city":"x"}',
    }
    indices = []
    for _ in range(2):
        stream = client.chat.completions.create(**body, stream=True)  # type: ignore[call-overload]
        indices += [call.index for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert indices == [0, 1]


@pytest.mark.parametrize(
    ("route", "body", "status", "answer"),
    [
        ("GET /health", None, 404, {"error": "Not Found"}),
        ("GET /v1/models?x=1", None, 404, {"error": "Not Found"}),
        ("GET /v1/models/qwen3:0.6b", None, 404, {"error": "Not Found"}),
        ("GET /v1/version", None, 200, {"version": "0.9.45"}),
        ("POST /api/pull", {}, 200, {"error": "Pull operation not implemented"}),
        ("POST /api/cancel", {}, 200, {"error": "request_id is required"}),
        ("POST /v1/chat/completions", b"{", 400, {"error": "Invalid JSON"}),
        (
            "POST /v1/chat/completions",
            say("Hi", max_tokens=None),
            200,
            {
                "error": {
                    "message": "[json.exception.type_error.302] type must be number, but is null",
                    "type": "server_error",
                    "code": 500,
                }
            },
        ),
        (
            "POST /v1/embeddings",
            {"model": "any", "input": [[1, 2]]},
            200,
            {"error": "[json.exception.type_error.302] type must be string, but is array"},
        ),
        (
            "POST /v1/completions",
            {"model": "gpt-4", "prompt": "Hi"},
            200,
            {"error": {"message": "Model gpt-4 is not supported.", "type": "server_error", "code": 500}},
        ),
    ],
)
def test_answers_that_are_strange(server: Serving, route: str, body: object, status: int, answer: object) -> None:
    assert ask(server, route, body) == (status, answer)


def test_a_context_that_is_full(home: Path) -> None:
    """No less than 512 tokens, whatever was asked for; a word is one here."""
    with serving(home, TAG, "--ctx-len", "5") as server:
        error = {"message": "Max length reached!", "type": "model_error", "code": 400}
        for stream in (False, True):
            body = say("word " * 508, stream=stream)
            assert ask(server, "POST /v1/chat/completions", body) == (400, {"error": error})
        _, answer = ask(server, "POST /v1/chat/completions", say("word " * 507))
    assert isinstance(answer, dict) and answer["choices"][0]["message"]["content"] == "Hello"


def test_bodies_that_are_not_called_json(server: Serving) -> None:
    status, answer = ask(server, "POST /v1/chat/completions", b"{", **{"Content-Type": "text/plain"})
    assert status == 500 and str(answer).startswith("{'error': 'Handler exception: [json.exception")
    status, answer = ask(server, "POST /v1/audio/transcriptions", b"x", **{"Content-Type": "multipart/form-data"})
    assert (status, answer) == (
        500,
        {"error": "Handler exception: Invalid multipart/form-data: boundary not found."},
    )


def test_it_lists_what_could_be_had_not_what_is_there(server: Serving, client: OpenAI) -> None:
    listed = [model.id for model in client.models.list().data]
    assert listed[0] == "deepseek-r1:8b" and TAG in listed
    assert not any(name.startswith(("whisper", "embed")) for name in listed)
    _, loaded = ask(server, "GET /api/ps")
    assert isinstance(loaded, dict) and [model["name"] for model in loaded["models"]] == [TAG]


def test_the_socket_is_shut_after_each_answer(server: Serving) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /api/version HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.endswith(b'{"version":"0.9.45"}')


def test_one_at_a_time_and_no_more_in_the_queue_than_may_wait(server: Serving) -> None:
    """In the order of their coming, each after a pause, and 503 with a string for the one too many."""
    before = len(server.output)
    answers: list[int] = []
    calls = [lambda: answers.append(transcribe(server)[0]), lambda: answers.append(chat(server)[0])]
    with open_stream(server, say(LONG, max_tokens=100000)):
        busy = {"npu_available": False, "active_requests": 1, "message": "NPU is currently in use"}
        assert ask(server, "GET /api/npu/status") == (200, busy)
        threads = [threading.Thread(target=call) for call in calls]
        for place, thread in enumerate(threads, 1):
            thread.start()
            server.wait_for(f"request queued ({place}/2): POST /v1/")
        text = "NPU is in use and request queue is full (limit: 2). Please try again later."
        assert ask(server, "POST /v1/embeddings", {"model": "any", "input": "x"}) == (503, {"error": text})
        assert answers == []
    # The stream's client has left, and so the others have their turns.
    for thread in threads:
        thread.join(60)
    assert answers == [200, 200]
    said = re.findall(r"Dequeuing NPU request \(\d|Transforming|Start prefill", server.output[before:])
    assert said == [
        "Start prefill",
        "Dequeuing NPU request (1",
        "Transforming",
        "Dequeuing NPU request (0",
        "Start prefill",
    ]
    free = {"npu_available": True, "active_requests": 0, "message": "NPU is available"}
    eventually("the NPU is free", lambda: ask(server, "GET /api/npu/status") == (200, free))


def test_a_request_is_cancelled_by_its_name(server: Serving) -> None:
    with open_stream(server, say(LONG, max_tokens=100000, request_id="mine")) as connection:
        _, answer = ask(server, "POST /api/cancel", {"request_id": "mine"})
        assert answer == {"cancelled": True, "message": "Request cancelled successfully"}
        rest = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"finish_reason":"cancel"' in rest and rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    _, answer = ask(server, "POST /api/cancel", {"request_id": "mine"})
    assert answer == {"cancelled": False, "message": "Request not found or already completed"}


def test_of_a_known_conversation_only_what_is_new_counts(server: Serving) -> None:
    def tokens(messages: list[dict[str, str]]) -> int:
        _, answer = ask(server, "POST /v1/chat/completions", {"model": TAG, "messages": messages})
        assert isinstance(answer, dict)
        return int(answer["usage"]["prompt_tokens"])

    first = [{"role": "user", "content": "one two three four five"}]
    more = [*first, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "six"}]
    assert (tokens(first), tokens(more), tokens(more)) == (9, 5, 23)


def test_the_model_of_a_request_is_loaded(home: Path) -> None:
    with serving(home, TAG) as server:
        for name in (TAG, "qwen3:1.7b", TAG, "qwen3", "qwen3", "gpt-4", "gpt-4"):
            status, answer = ask(server, "POST /v1/chat/completions", say("Hi") | {"model": name})
            assert status == 200 and isinstance(answer, dict) and answer["model"] == name
        loads = [line.rpartition("/")[2] for line in server.output.splitlines() if "Loading model" in line]
    # A family alone is never what is loaded; nor is a name that is not known.
    assert loads == [
        "Qwen3-0.6B-NPU2",
        "Qwen3-1.7B-NPU2",
        "Qwen3-0.6B-NPU2",
        *["Qwen3-0.6B-NPU2"] * 2,
        *["Llama-3.2-1B-NPU2"] * 2,
    ]


def test_nothing_is_left_of_clients_that_left(server: Serving) -> None:
    """Neither a thread nor a socket, whether they left while waiting, in a stream or before they asked."""

    def held() -> tuple[int, int]:
        process = Path("/proc") / str(server.process.pid)
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    eventually("it is idle", lambda: held()[0] == 1)
    before = held()
    body = b'{"model": "a", "input": ""}'
    request = f"POST /v1/embeddings HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    address = ("127.0.0.1", server.port)
    with (
        open_stream(server, say(LONG, max_tokens=100000)),
        socket.create_connection(address),
        socket.create_connection(address) as waiting,
    ):
        waiting.sendall(request)
        eventually("three are connected", lambda: held()[0] == 4)
    eventually(f"{before} are left", lambda: held() == before)


async def test_many_clients_at_once(home: Path) -> None:
    """As many as the queue has room for, of all roles."""
    sound = wav(Speech(("echo",)).samples())
    with serving(home, TAG, *ROLES, FLM_EMULATOR_TOKENS_PER_S="1000") as server:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

            async def chat() -> str | None:
                answer = await client.chat.completions.create(model=TAG, messages=[{"role": "user", "content": "Hi"}])
                return answer.choices[0].message.content

            async def transcribe() -> str:
                return (await client.audio.transcriptions.create(model="any", file=("a.wav", sound))).text

            answers = list(await asyncio.gather(chat(), transcribe(), chat(), transcribe(), chat()))
    assert answers == [ANSWER, " echo", ANSWER, " echo", ANSWER]
    assert server.output.count("NPU Locked!") + server.output.count("Dequeuing") == len(answers)


def test_a_real_engine_can_speak_behind_it(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "chat.gguf"
    make_chat_model(model, "tiny-chat", TALKING)
    with running_engine(model) as engine, serving(home, TAG, FLM_EMULATOR_CHAT_URL=str(engine.base_url)) as server:
        _, answer = chat(server)
        assert isinstance(answer, dict) and answer["choices"][0]["message"]["content"] == ANSWER
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(
                model=TAG, messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == ANSWER


def test_an_engine_behind_it_that_is_not_there(home: Path) -> None:
    with serving(home, TAG, FLM_EMULATOR_CHAT_URL=f"http://127.0.0.1:{free_port()}") as server:
        status, answer = chat(server)
    assert status == 500 and "Connection refused" in str(answer)
