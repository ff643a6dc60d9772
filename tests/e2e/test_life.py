"""The life of slots: up with the first request, down when quiet; failures that say why; clients that leave."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.demo import CHAT, config, make_models, slot
from tests.support.server import Record, Server, ServerPark, eventually
from tests.support.stream import ChatStream

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
LOOP = slot(CHAT, name="loop", model="demo/tiny-loop.gguf", context_size=65536, parallel_requests=1)
SLOTS = ", ".join(
    [
        slot(CHAT, idle_after_s=1, unload_after_s=3),
        LOOP,
        slot(CHAT, name="fleeting", unload_after_s=0),
        slot(CHAT, name="spare"),
        slot(CHAT, name="pinned", pin="true", idle_after_s=1, unload_after_s=1),
        slot(CHAT, name="missing", model="demo/nothing.gguf"),
        slot(CHAT, name="truncated", model="demo/truncated.gguf"),
        slot(CHAT, name="junk", model="demo/junk.gguf"),
        slot(CHAT, name="nobinary", options="{binary: /nonexistent/llama-server}"),
        slot(CHAT, name="quits", options="{binary: /bin/false}"),
        slot(CHAT, name="hangs", load_timeout_s=2, options="{binary: BINARY_THAT_HANGS}"),
        slot(CHAT, name="npu", device="vulkan"),
        slot(CHAT, name="twins", max_replicas=2, parallel_requests=1, model="demo/tiny-loop.gguf", context_size=65536),
    ]
)


def prepare(home: Path) -> None:
    make_models(home)
    demo = home / "models" / "demo"
    whole = (demo / "tiny-chat.gguf").read_bytes()
    (demo / "truncated.gguf").write_bytes(whole[: len(whole) // 2])
    (demo / "junk.gguf").write_bytes(b"<html>not found</html>" * 100)


@pytest.fixture(scope="module")
def server(servers: ServerPark, tmp_path_factory: pytest.TempPathFactory) -> Server:
    hangs = tmp_path_factory.mktemp("bin") / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 600\n")
    hangs.chmod(0o755)
    return servers.running(config(f"[{SLOTS}]".replace("BINARY_THAT_HANGS", str(hangs))), prepare=prepare)


def chat(server: Server, name: str, **more: object) -> tuple[int, Record, Any]:
    return server.post("/v1/chat/completions", {"model": name, "messages": USER, "max_tokens": 5} | more)


def busy_engine_slots(server: Server, name: str) -> int:
    return sum(one["is_processing"] for one in server.get(f"/slots?model={name}"))


def test_a_slot_comes_up_with_its_first_request_and_goes_when_quiet(server: Server) -> None:
    assert server.slot("chat")["state"] == "offline"
    assert server.engines("--alias chat") == []
    assert chat(server, "chat")[0] == 200
    assert len(server.engines("--alias chat")) == 1
    server.wait_for_state("chat", "idle")
    server.wait_for_state("chat", "offline", timeout_s=40)
    eventually("its engine is gone", lambda: not server.engines("--alias chat"), 5)
    assert chat(server, "chat")[0] == 200


def test_a_load_takes_a_worker_that_is_there(server: Server) -> None:
    """No new process is started for the replica, but one for the next load."""
    eventually("a worker is idle", lambda: bool(server.processes("ray::IDLE")), 30)
    idle = server.processes("ray::IDLE")
    assert chat(server, "spare")[0] == 200
    (replica,) = server.processes("ServeReplica:hal0:spare")
    assert replica in idle
    eventually("the next one is there", lambda: bool(set(server.processes("ray::IDLE")) - {replica}), 30)


def test_unload_at_once(server: Server) -> None:
    assert chat(server, "fleeting")[0] == 200
    server.wait_for_state("fleeting", "offline", timeout_s=40)


def test_a_pinned_slot_is_there_from_the_start_and_stays(server: Server) -> None:
    server.wait_for_state("pinned", "ready", "idle", timeout_s=60)
    first = server.engines("--alias pinned")
    time.sleep(3)  # three times its unload time
    assert server.engines("--alias pinned") == first
    assert server.slot("pinned")["pinned"] is True
    os.kill(first[0], signal.SIGKILL)
    eventually("it is loaded again without a request", lambda: server.engines("--alias pinned") not in ([], first), 30)


def test_a_client_that_leaves_frees_the_engine_within_a_second(server: Server) -> None:
    stream = ChatStream(server, "loop")
    stream.read_events(5)
    assert busy_engine_slots(server, "loop") == 1
    stream.leave()
    eventually("the engine stopped generating", lambda: busy_engine_slots(server, "loop") == 0, 1.0)


def test_a_client_that_leaves_a_plain_request_frees_the_engine(server: Server) -> None:
    body = json.dumps({"model": "loop", "messages": USER}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        eventually("the engine generates", lambda: busy_engine_slots(server, "loop") == 1, 20)
    # Without a stream llama.cpp looks for its client only when nothing has happened for a second, polling included.
    eventually("the engine stopped generating", lambda: busy_engine_slots(server, "loop") == 0, 15.0, poll_s=2.5)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("missing", "model_missing", "nothing.gguf does not exist"),
        ("truncated", "engine_exited", "corrupted or incomplete"),
        ("junk", "engine_exited", "GGUF"),
        ("nobinary", "engine_exited", "/nonexistent/llama-server"),
        ("quits", "engine_exited", "exited with code 1"),
        ("hangs", "load_timeout", "load_timeout_s (2 s)"),
        ("npu", "no_node_for_slot", "hal0 up --resources '{\"vulkan\": 1}'"),
    ],
)
def test_a_load_that_fails_says_why(server: Server, name: str, code: str, words: str) -> None:
    status, answer, headers = chat(server, name)
    error = answer["error"]
    assert isinstance(error, dict)
    assert (status, error["code"], error["type"]) == (503, code, "server_error"), error
    assert words in str(error["message"])
    if code != "no_node_for_slot":
        assert int(headers["retry-after"]) >= 1
        server.wait_for_state(name, "error")
        assert words in server.slot(name)["last_error"]["message"]
    status, again, _ = chat(server, name)
    assert status == 503 and again["error"]["message"] == error["message"], "the next client is told the same, at once"
    assert server.engines(f"--alias {name}") == []


def test_an_engine_killed_while_idle_is_replaced(server: Server) -> None:
    assert chat(server, "loop")[0] == 200
    [engine] = server.engines("--alias loop")
    os.kill(engine, signal.SIGKILL)
    eventually("the dead engine is noticed", lambda: server.slot("loop")["state"] == "error", 10)
    assert "signal 9" in server.slot("loop")["last_error"]["message"]
    assert chat(server, "loop")[0] == 200
    assert server.engines("--alias loop") != [engine]


def test_an_engine_killed_in_mid_stream_ends_the_stream_with_an_error(server: Server) -> None:
    stream = ChatStream(server, "loop")
    stream.read_events(3)
    [engine] = server.engines("--alias loop")
    os.kill(engine, signal.SIGKILL)
    events = [line for line in stream.rest().splitlines() if line.startswith(b"data:")]
    error = json.loads(events[-1].removeprefix(b"data:"))["error"]
    assert error["code"] == "engine_died"
    assert chat(server, "loop")[0] == 200


def test_a_replica_killed_takes_its_engine_along_and_is_replaced(server: Server) -> None:
    assert chat(server, "loop")[0] == 200
    [engine] = server.engines("--alias loop")
    [replica] = server.processes("ServeReplica:hal0:loop")
    os.kill(replica, signal.SIGKILL)
    eventually("its engine is gone", lambda: engine not in server.engines("--alias loop"), 10)
    assert chat(server, "loop")[0] == 200


def test_an_ingress_that_was_killed_listens_again(server: Server) -> None:
    assert chat(server, "loop")[0] == 200
    engines = server.engines("--alias loop")
    [ingress] = server.processes("ServeReplica:hal0:ingress")
    os.kill(ingress, signal.SIGKILL)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return bool(server.get("/health")) and server.processes("ServeReplica:hal0:ingress") != [ingress]
        return False

    eventually("it listens again", answers, 60)
    assert chat(server, "loop")[0] == 200
    assert server.engines("--alias loop") == engines, "its slots go on"


def test_an_engine_killed_while_loading_is_an_answer(server: Server) -> None:
    """The slow engine of slot `hangs` is killed before its time-out."""
    eventually("its cooldown is over", lambda: float(server.slot("hangs")["last_error"]["next_try"]) < time.time(), 60)
    answers: list[tuple[int, Record, Any]] = []
    client = threading.Thread(target=lambda: answers.append(chat(server, "hangs")))
    client.start()
    eventually("the engine was started", lambda: bool(server.processes("sleep 600")), 10)
    for pid in server.processes("sleep 600"):
        os.kill(pid, signal.SIGKILL)
    client.join(20)
    status, answer, _ = answers[0]
    assert status == 503
    assert "signal 9" in str(answer["error"])


def test_load_grows_a_slot_to_its_second_replica_and_back(server: Server) -> None:
    streams = [ChatStream(server, "twins")]
    streams[0].read_events(1)
    streams.append(ChatStream(server, "twins"))
    try:
        streams[1].read_events(1)
        eventually("the board knows both replicas", lambda: server.slot("twins")["replicas"] == 2, 60)
    finally:
        for stream in streams:
            stream.leave()
    eventually("one replica again", lambda: server.slot("twins")["replicas"] <= 1, 60)
