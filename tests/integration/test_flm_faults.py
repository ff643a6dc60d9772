"""How the emulated `flm` starts, fails and ends."""

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.support.flm import serving, starting
from tests.support.flm_client import LONG, ROLES, TAG, ask, chat, open_stream, pulled, say, transcribe
from tests.support.server import eventually

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled(tmp_path_factory.mktemp("flm"))


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


def test_a_port_that_is_taken(home: Path) -> None:
    with serving(home) as first, starting(home, port=first.port) as second:
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
