"""The server of the emulated `flm`, as clients and faults find it."""

import asyncio
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.flm import Serving, flm, serving, starting
from tests.support.server import eventually
from tests.support.tones import Speech
from tests.support.wav import wav

pytestmark = pytest.mark.engine

TAG = "qwen3:0.6b"
ANSWER = "Hello from the tiny model!!"
LONG = "Say 100000 words"
ROLES = ("--asr", "1", "--embed", "1")
Record = dict[str, object]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flm")
    for tag in (TAG, "qwen3:1.7b", "llama3.2:1b", "whisper-v3:turbo", "embed-gemma:300m"):
        assert flm(folder, "pull", tag).returncode == 0
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Serving]:
    with serving(home, TAG, *ROLES, "--q-len", "2") as running:
        yield running


@pytest.fixture
def client(server: Serving) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def ask(server: Serving, route: str, body: object = None, **headers: str) -> tuple[int, object]:
    """Method, then target; the status and the body."""
    method, target = route.split(" ", 1)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, target, data, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def chat(server: Serving) -> tuple[int, object]:
    return ask(server, "POST /v1/chat/completions", say("Hi"))


def transcribe(server: Serving, sound: bytes = b"x") -> tuple[int, object]:
    form = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + sound + b"\r\n--B--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    return ask(server, "POST /v1/audio/transcriptions", form, **kind)


def say(text: str, **more: object) -> Record:
    return {"model": TAG, "messages": [{"role": "user", "content": text}], **more}


def open_stream(server: Serving, body: Record) -> socket.socket:
    """A chat whose first bytes have come, and which goes on."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    data = json.dumps(body | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


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


def test_what_is_missing_is_pulled_at_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, TAG, "--asr", "1") as server:
        output = server.output
    lines = [
        "ASR mode enabled: reserving additional 1GB of memory",
        f"Using user-specified port: {server.port}",
        "Name: Whisper-V3-Turbo-NPU2",
        f"Loading model: {tmp_path}/models/Whisper-V3-Turbo-NPU2",
        "Name: Qwen3-0.6B-NPU2",
        f"Loading model: {tmp_path}/models/Qwen3-0.6B-NPU2",
        f"Starting server on port {server.port}...",
        f"WebServer started on port {server.port} with 10 I/O threads",
        "Press Ctrl+C to stop.",
    ]
    places = [output.index(line) for line in lines]
    assert places == sorted(places)


def test_roles_that_are_off_answer_null(home: Path) -> None:
    with serving(home) as server:
        assert ask(server, "POST /v1/embeddings", {"model": "any", "input": "x"}) == (200, None)
        assert transcribe(server) == (200, None)


def test_asking_for_what_is_loaded_when_nothing_is_ends_it(home: Path) -> None:
    with serving(home) as server:
        with pytest.raises(OSError):
            ask(server, "GET /api/ps")
        assert server.process.wait(30) == -signal.SIGABRT


def test_connections_over_the_limit_are_closed_without_a_byte(home: Path) -> None:
    with serving(home, "--socket", "1") as server:
        eventually(
            "no connection is left",
            lambda: server.output.count("connection closed") == server.output.count("connection established"),
        )
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            server.wait_for("connection established - Remote: 127.0.0.1:" + str(one.getsockname()[1]))
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as other:
                assert other.recv(1) == b""
        server.wait_for("Connection limit reached (1), rejecting new connection")


def test_it_accepts_before_it_can_answer(home: Path) -> None:
    with starting(home, TAG, FLM_EMULATOR_FAULT="hang-at-load") as server:
        server.wait_for("Loading model")
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /api/version HTTP/1.1\r\n\r\n")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        assert server.process.poll() is None


def test_a_fault_in_a_file_can_be_put_right(home: Path, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.write_text("hang-at-load\n")
    with starting(home, TAG, FLM_EMULATOR_FAULT_FILE=str(fault)) as server:
        server.wait_for("Loading model")
        assert "Starting server" not in server.output
        fault.unlink()
        server.wait_until_ready()


def test_a_port_that_is_taken(home: Path, server: Serving) -> None:
    with starting(home, port=server.port) as second:
        assert second.process.wait(30) == 1
        assert "Error: bind: Address already in use" in second.output


def test_a_host_that_is_no_address(home: Path) -> None:
    with starting(home, "--host", "localhost") as server:
        assert server.process.wait(30) == 1 and "Error: make_address" in server.output


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_at_once(home: Path, stop: signal.Signals) -> None:
    with serving(home, TAG, *ROLES) as server, open_stream(server, say(LONG, max_tokens=100000)):
        server.process.send_signal(stop)
        assert server.process.wait(30) == -stop
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.parametrize("fault", ["driver-missing", "xrt-missing"])
def test_without_a_device_it_does_not_start(home: Path, fault: str) -> None:
    with starting(home, TAG, FLM_EMULATOR_FAULT=fault) as server:
        assert server.process.wait(30) == 1 and "No such device with index '0'" in server.output


@pytest.mark.parametrize("fault", ["npu-busy", "broken-models", "memlock-low"])
def test_a_model_that_cannot_be_loaded_does_not_stop_the_server(home: Path, fault: str) -> None:
    with serving(home, TAG, FLM_EMULATOR_FAULT=fault) as server:
        assert f"[Error]  Failed to load default model: {TAG}" in server.output
        assert "[ERROR]  Failed to load model: " in server.output
        status, answer = chat(server)
        assert (status, answer) == (200, {"error": f"Failed to load {TAG} model!"})


def test_a_role_that_cannot_be_loaded_does(home: Path) -> None:
    with starting(home, TAG, *ROLES, FLM_EMULATOR_FAULT="npu-busy") as server:
        assert server.process.wait(30) == 1 and "Failed to load ASR model: " in server.output


def test_broken_models_leave_the_roles(home: Path) -> None:
    with serving(home, TAG, "--embed", "1", FLM_EMULATOR_FAULT="broken-models") as server:
        _, answer = ask(server, "POST /v1/embeddings", {"model": "any", "input": "x"})
        assert isinstance(answer, dict) and len(answer["data"]) == 1


def test_a_crash_at_load(home: Path) -> None:
    with starting(home, TAG, FLM_EMULATOR_FAULT="crash-at-load") as server:
        assert server.process.wait(30) == -signal.SIGABRT


def test_a_crash_at_a_request(home: Path) -> None:
    with serving(home, TAG, FLM_EMULATOR_FAULT="crash-after:2") as server:
        assert chat(server)[0] == 200
        with pytest.raises(OSError):
            chat(server)
        assert server.process.wait(30) == -signal.SIGABRT


def test_a_crash_by_two_at_once(home: Path) -> None:
    with serving(home, TAG, FLM_EMULATOR_FAULT="crash-under-load") as server:
        assert chat(server)[0] == 200
        with open_stream(server, say(LONG)), pytest.raises(OSError):
            chat(server)
        assert server.process.wait(30) == -signal.SIGABRT


def test_answers_that_are_empty(home: Path) -> None:
    with serving(home, TAG, FLM_EMULATOR_FAULT="empty-answers") as server:
        _, answer = chat(server)
        assert isinstance(answer, dict) and answer["choices"][0]["message"]["content"] == ""


def test_a_generation_that_hangs_keeps_the_npu(home: Path) -> None:
    with serving(home, TAG, FLM_EMULATOR_FAULT="hang-in-generation") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            data = json.dumps(say("Hi")).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data)
            server.wait_for("Start generating...")
        assert ask(server, "GET /api/npu/status")[1] == {
            "npu_available": False,
            "active_requests": 1,
            "message": "NPU is currently in use",
        }


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


def test_a_real_server_can_speak_behind_it(home: Path) -> None:
    """Here another emulator is the one behind."""
    with (
        serving(home, TAG, FLM_EMULATOR_ANSWER="from far behind") as behind,
        serving(home, TAG, FLM_EMULATOR_CHAT_URL=behind.url) as server,
    ):
        _, answer = chat(server)
    assert isinstance(answer, dict) and answer["choices"][0]["message"]["content"] == "from far behind"
