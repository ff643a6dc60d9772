"""What clients see of a slot that loads slowly, fails, crashes, or is asked for too often."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.demo import CHAT, config, make_models, slot
from tests.support.server import Record, Server, ServerPark, eventually
from tests.support.slow_engine import slow_engine
from tests.support.stream import ChatStream

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
SCRIPT = "Hello from the tiny model!!"
LOOP = slot(CHAT, name="loop", model="demo/tiny-loop.gguf", context_size=65536, parallel_requests=1, max_queued=2)


def slots(folder: Path) -> str:
    slow = f"{{binary: {slow_engine(folder, 6)}}}"
    return ", ".join(
        [
            slot(CHAT, name="slow", options=slow, load_wait_s=2),
            slot(CHAT, name="patient", options=slow),
            slot(CHAT, name="talkative", options=slow, progress_as_reasoning="true"),
            slot(CHAT, name="impatient", options=slow, load_wait_s=2.5),
            slot(CHAT, name="broken", options=f"{{binary: {failing_engine(folder)}}}"),
            slot(CHAT, name="limited", model="demo/tiny-loop.gguf", context_size=65536, request_timeout_s=5),
            slot(CHAT, name="crashing"),
            slot(CHAT, name="ordered", model="demo/tiny-loop.gguf", context_size=65536, parallel_requests=1),
            LOOP,
        ]
    )


def failing_engine(folder: Path) -> Path:
    program = folder / "failing"
    program.write_text("#!/bin/sh\nsleep 3\necho 'error: out of luck' >&2\nexit 3\n")
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def server(servers: ServerPark, tmp_path_factory: pytest.TempPathFactory) -> Server:
    text = config(f"[{slots(tmp_path_factory.mktemp('bin'))}]", ingress="{keep_alive_s: 1}")
    return servers.running(text, prepare=make_models)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=60) as client:
        yield client


def chat(server: Server, name: str, headers: dict[str, str] | None = None, **more: object) -> tuple[int, Record, Any]:
    return server.post("/v1/chat/completions", {"model": name, "messages": USER, "max_tokens": 5} | more, headers or {})


def streamed(server: Server, name: str, path: str = "/v1/chat/completions", **more: object) -> list[str]:
    """The lines of a streamed answer, without empty ones."""
    body = json.dumps({"model": name, "messages": USER, "stream": True, "max_tokens": 20} | more).encode()
    request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return [line for line in response.read().decode().splitlines() if line]


def unload(server: Server, name: str) -> None:
    server.post(f"/api/slots/{name}/unload", b"")
    server.wait_for_state(name, "offline", timeout_s=40)


def test_the_official_client_gets_its_answer_from_a_slow_slot(client: Any) -> None:
    """It takes more than three times `load_wait_s` to load; the client's own retries do the rest."""
    answer = client.chat.completions.create(model="slow", messages=USER)
    assert answer.choices[0].message.content == SCRIPT


def test_past_load_wait_s_a_client_is_told_how_far_it_is(server: Server) -> None:
    status, answer, headers = chat(server, "impatient")
    assert (status, answer["error"]["code"], answer["error"]["type"]) == (503, "model_loading", "server_error")
    assert 1 <= int(headers["retry-after"]) <= 30
    assert answer["loading"]["model"] == "impatient" and "load_wait_s" in answer["error"]["message"]
    assert answer["loading"]["state"] in ("offline", "starting", "warming")
    server.wait_for_state("impatient", "ready", "idle", timeout_s=40)
    assert chat(server, "impatient")[0] == 200, "the load has gone on"


def test_a_waiting_stream_is_kept_alive_by_comments(server: Server) -> None:
    lines = streamed(server, "patient")
    comments = [line for line in lines if line.startswith(":")]
    assert len(comments) >= 2
    assert lines.index(": keep-alive") < next(at for at, line in enumerate(lines) if line.startswith("data:"))
    assert lines[-1] == "data: [DONE]"


def test_the_official_clients_read_such_streams(server: Server, client: Any) -> None:
    unload(server, "patient")
    chunks = list(client.chat.completions.create(model="patient", messages=USER, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SCRIPT
    unload(server, "patient")
    with (
        anthropic.Anthropic(base_url=server.url, api_key="none", timeout=60, max_retries=0) as other,
        other.messages.stream(model="patient", max_tokens=20, messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        assert "".join(stream.text_stream) == SCRIPT


def test_progress_as_reasoning(client: Any) -> None:
    chunks = list(client.chat.completions.create(model="talkative", messages=USER, stream=True))
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks if chunk.choices]
    told = [thought for thought in thoughts if thought]
    assert any("talkative is starting" in line for line in told), told
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SCRIPT


def test_a_stream_that_waits_too_long_ends_with_the_loading_object(server: Server) -> None:
    unload(server, "slow")
    lines = streamed(server, "slow")
    assert lines[0].startswith(":")
    end = json.loads(lines[-1].removeprefix("data:"))
    assert end["error"]["code"] == "model_loading" and end["loading"]["model"] == "slow"


def test_a_failed_load_answers_every_waiter_with_its_cause(server: Server) -> None:
    with ThreadPoolExecutor(5) as clients:
        plain = [clients.submit(chat, server, "broken") for _ in range(4)]
        lines = clients.submit(streamed, server, "broken").result(60)
        for one in plain:
            status, answer, headers = one.result(60)
            assert (status, answer["error"]["code"]) == (503, "engine_exited")
            assert "out of luck" in answer["error"]["message"]
            assert 1 <= int(headers["retry-after"]) <= 10
    end = json.loads(lines[-1].removeprefix("data:"))
    assert end["error"]["code"] == "engine_exited"


def test_and_then_refuses_without_trying(server: Server) -> None:
    if server.slot("broken")["state"] != "error":
        chat(server, "broken")
    began = time.time()
    next_try = float(server.slot("broken")["last_error"]["next_try"])
    status, answer, headers = chat(server, "broken")
    assert status == 503 and "out of luck" in answer["error"]["message"]
    assert int(headers["retry-after"]) <= next_try - began + 1
    assert server.slot("broken")["last_error"]["next_try"] == next_try, "it was not tried"
    assert server.processes("failing") == []
    eventually("its pause is over", lambda: time.time() > next_try, 30)
    chat(server, "broken")
    doubled = server.slot("broken")["last_error"]["next_try"] - server.slot("broken")["since"]
    assert doubled > 15, "the second pause is longer"


def test_too_many_who_wait_are_refused(server: Server) -> None:
    with ThreadPoolExecutor(4) as clients:
        endless = held(server, "loop")
        waiting = [clients.submit(chat, server, "loop", max_tokens=2) for _ in range(2)]
        eventually("two wait", lambda: server.slot("loop")["queued"] == 2, 10)
        status, answer, headers = chat(server, "loop")
        assert (status, answer["error"]["code"], answer["error"]["type"]) == (429, "queue_full", "rate_limit_error")
        assert int(headers["retry-after"]) >= 1
        assert server.get("/slots?model=loop"), "what needs no place in the engine does not wait"
        endless.leave()
        assert [one.result(60)[0] for one in waiting] == [200, 200]


def held(server: Server, name: str) -> ChatStream:
    """A stream without an end, which occupies the slot's only place."""
    stream = ChatStream(server, name)
    stream.read_events(1)
    return stream


def test_higher_priority_waits_less(server: Server) -> None:

    def ask(name: str, priority: int) -> None:
        headers = {"x-hal0-priority": str(priority), "x-request-id": f"order-{name}"}
        assert chat(server, "ordered", headers, max_tokens=2)[0] == 200

    with ThreadPoolExecutor(5) as clients:
        endless = held(server, "ordered")
        waiting = []
        for place, (name, priority) in enumerate([("low", -5), ("usual", 0), ("later", 0), ("high", 7)], start=1):
            waiting.append(clients.submit(ask, name, priority))
            eventually("it waits", lambda place=place: server.slot("ordered")["queued"] == place, 10)  # type: ignore[misc]
        endless.leave()
        for one in waiting:
            one.result(60)
    # The log has them in the order in which they were done, a moment later; clients may be late to notice.
    eventually("all are in the log", lambda: len(logged(server, "order-")) == 4, 10)
    assert logged(server, "order-") == ["order-high", "order-usual", "order-later", "order-low"]


def logged(server: Server, prefix: str) -> list[str]:
    """Ids of requests in the ingress's log."""
    lines = map(json.loads, (server.home / "logs/ingress-0.jsonl").read_text().splitlines())
    return [line["request_id"] for line in lines if line.get("request_id", "").startswith(prefix)]


@pytest.mark.parametrize("value", ["high", "1000", "1.5"])
def test_a_priority_that_is_none(server: Server, value: str) -> None:
    status, answer, _ = chat(server, "ordered", {"x-hal0-priority": value})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_priority", "x-hal0-priority")


def test_a_request_that_takes_too_long_is_ended(server: Server) -> None:
    status, answer, _ = chat(server, "limited", max_tokens=60000)
    assert (status, answer["error"]["code"]) == (504, "request_timeout")
    eventually("nothing is done for nobody", lambda: not busy(server, "limited"), 15, 2.5)
    lines = streamed(server, "limited", max_tokens=60000)
    assert json.loads(lines[-1].removeprefix("data:"))["error"]["code"] == "request_timeout"
    eventually("nothing is done for nobody", lambda: not busy(server, "limited"), 15, 2.5)


def busy(server: Server, name: str) -> bool:
    return any(one["is_processing"] for one in server.get(f"/slots?model={name}"))


def test_who_leaves_the_line_is_not_answered(server: Server) -> None:
    endless = held(server, "loop")
    body = json.dumps({"model": "loop", "messages": USER, "max_tokens": 2}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        eventually("it waits", lambda: server.slot("loop")["queued"] == 1, 10)
    eventually("nobody waits", lambda: server.slot("loop")["queued"] == 0, 10)
    endless.leave()


def test_an_engine_that_keeps_dying_is_left_alone(server: Server) -> None:
    """Killed three times within a minute: the slot goes to error, and says so."""
    for _ in range(3):
        assert chat(server, "crashing")[0] == 200
        [engine] = server.engines("--alias crashing")
        os.kill(engine, signal.SIGKILL)
        server.wait_for_state("crashing", "error", timeout_s=10)
    error = server.slot("crashing")["last_error"]
    assert error["code"] == "engine_crash_loop" and "3 times" in error["message"] and error["next_try"] is not None
    status, answer, headers = chat(server, "crashing")
    assert (status, answer["error"]["code"]) == (503, "engine_crash_loop") and int(headers["retry-after"]) >= 1
    assert server.engines("--alias crashing") == []
    assert server.post("/api/slots/crashing/load", b"")[0] == 200
    server.wait_for_state("crashing", "ready", "idle", timeout_s=40)


def test_a_replica_killed_while_it_loads_is_replaced_for_those_who_wait(server: Server) -> None:
    unload(server, "patient")
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(chat, server, "patient")
        server.wait_for_state("patient", "starting", timeout_s=20)
        [replica] = server.processes("ServeReplica:hal0:patient")
        os.kill(replica, signal.SIGKILL)
        assert waiting.result(90)[0] == 200
