"""The life of a slot as its watchers see it, from an empty cache on; what people may ask of slots."""

import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.demo import CHAT, config, make_models, slot
from tests.support.hub import Fault, Hub
from tests.support.server import Record, Server, ServerPark, eventually
from tests.support.watcher import Watcher

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
SLOTS = ", ".join(
    [
        slot(CHAT, model="hf://acme/tiny/chat.gguf", idle_after_s=1, unload_after_s=3),
        slot(CHAT, name="big", model="hf://acme/tiny/big.gguf", idle_after_s=1),
        slot(CHAT, name="gated", model="hf://acme/gated/chat.gguf"),
        slot(CHAT, name="calm", idle_after_s=1, unload_after_s=600),
        slot(CHAT, name="preloaded", preload="true", unload_after_s=600),
        slot(CHAT, name="broken", options="{binary: /bin/false}"),
        slot(CHAT, name="loop", model="demo/tiny-loop.gguf", context_size=65536),
    ]
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    make_models(folder)
    model = folder / "models/demo/tiny-chat.gguf"
    other = folder / "other.gguf"  # by its content the cache knows a file
    other.write_bytes(model.read_bytes() + b"\0")
    files = {"chat.gguf": model, "big.gguf": other}
    with Hub({"acme/tiny": files, "acme/gated": files}, tokens={"acme/gated": "hf_right"}) as running:
        yield running


@pytest.fixture(scope="module")
def server(servers: ServerPark, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("hf")), "HF_HUB_DISABLE_XET": "1"}
    yield servers.running(config(f"[{SLOTS}]"), env=env, prepare=make_models)
    servers.stop()


def chat(server: Server, name: str, **more: object) -> tuple[int, Record, Any]:
    return server.post("/v1/chat/completions", {"model": name, "messages": USER, "max_tokens": 5} | more)


def ask(server: Server, name: str, what: str) -> Record:
    status, record, _ = server.post(f"/api/slots/{name}/{what}", b"")
    assert status == 200, record
    return record


def in_order(wanted: list[str], seen: list[str]) -> bool:
    """Whether `wanted` is seen in this order, other things perhaps between."""
    rest = iter(seen)
    return all(one in rest for one in wanted)


def test_every_state_is_seen_in_order_from_an_empty_cache(server: Server, hub: Hub) -> None:
    size = (server.home / "models/demo/tiny-chat.gguf").stat().st_size
    hub.faults["acme/tiny", "chat.gguf"] = Fault(bytes_per_second=size / 3)
    with Watcher(server) as watcher:
        assert chat(server, "chat")[0] == 200
        watcher.wait_for("chat is offline again", lambda e: e["name"] == "chat" and e["state"] == "unloading")
        eventually("offline comes last", lambda: watcher.moves("chat")[-1] == "offline")
        moves = watcher.moves("chat")
        pulls = [e["progress"] for e in watcher.of("chat") if e["type"] == "progress" and e["state"] == "pulling"]
    life = ["offline", "pulling", "starting", "warming", "ready", "serving", "ready", "idle", "unloading", "offline"]
    assert moves == life
    assert len(pulls) >= 2 and pulls[-1]["bytes_total"] == size
    assert [pull["bytes_done"] for pull in pulls] == sorted(pull["bytes_done"] for pull in pulls)
    assert any(pull.get("eta_seconds", 0) > 0 and pull.get("bytes_per_second", 0) > 0 for pull in pulls)


def test_a_watcher_that_comes_back_misses_nothing(server: Server) -> None:
    with Watcher(server) as first:
        assert chat(server, "chat")[0] == 200
        first.wait_for("chat serves", lambda e: e["name"] == "chat" and e["state"] == "serving")
        seen = len(first.events)
        with Watcher(server) as whole:
            last_id = str(first.events[seen - 1]["id"])
            server.wait_for_state("chat", "offline", timeout_s=40)
            with Watcher(server, last_id) as second:
                eventually("both have the end", lambda: ends(whole) and ends(second))
                later = [e["id"] for e in whole.events if e["id"] in {one["id"] for one in second.events}]
                assert [e["id"] for e in second.events][-len(later) :] == later
                numbers = [int(e["id"].rpartition("-")[2]) for e in second.events]
    assert numbers == list(range(int(last_id.rpartition("-")[2]) + 1, numbers[-1] + 1))


def ends(watcher: Watcher) -> bool:
    return "chat" in {e["name"] for e in watcher.events} and watcher.of("chat")[-1]["state"] == "offline"


def test_a_record_tells_everything(server: Server) -> None:
    assert chat(server, "calm")[0] == 200
    eventually("its use is known", lambda: server.slot("calm")["last_used"] is not None, 10)
    record = server.slot("calm")
    assert record["state"] in ("ready", "serving", "idle") and record["replicas"] == 1
    assert record["capabilities"] == ["chat", "completion"] and record["device"] == "cpu"
    assert record["load_seconds"] > 0 and record["nodes"]
    assert (record["in_flight"], record["queued"], record["pinned"], record["last_error"]) == (0, 0, False, None)
    assert record["memory"]["estimated"]["weights_bytes"] > 0
    eventually("its memory is measured", lambda: (server.slot("calm")["memory"]["measured_bytes"] or 0) > 1e6, 10)
    models = {one["id"]: one for one in server.get("/v1/models")["data"]}
    assert models["calm"]["state"] in ("ready", "idle", "serving")


def test_what_an_engine_wrote(server: Server) -> None:
    assert chat(server, "calm")[0] == 200
    with urllib.request.urlopen(f"{server.url}/api/slots/calm/logs", timeout=10) as response:
        assert response.headers["content-type"].startswith("text/plain")
        lines = response.read().decode().splitlines()
    assert any("model" in line for line in lines)
    with urllib.request.urlopen(f"{server.url}/api/slots/calm/logs?lines=1", timeout=10) as response:
        assert len(response.read().splitlines()) == 1


def test_what_an_engine_writes_is_followed(server: Server) -> None:
    ask(server, "calm", "unload")
    server.wait_for_state("calm", "offline", timeout_s=40)
    with urllib.request.urlopen(f"{server.url}/api/slots/calm/logs?follow=1&lines=0", timeout=60) as response:
        threading.Thread(target=chat, args=(server, "calm")).start()
        assert response.readline().strip()


def test_load_unload_pin_and_unpin(server: Server) -> None:
    ask(server, "calm", "unload")
    server.wait_for_state("calm", "offline", timeout_s=40)
    assert ask(server, "calm", "load")["name"] == "calm"
    server.wait_for_state("calm", "ready", "idle", timeout_s=40)
    assert ask(server, "calm", "load")["state"] in ("ready", "idle"), "it is loaded already"
    assert ask(server, "calm", "pin")["pinned"] is True
    assert ask(server, "calm", "pin")["pinned"] is True
    assert ask(server, "calm", "unpin")["pinned"] is False
    assert ask(server, "calm", "unload")["state"] in ("unloading", "offline")
    server.wait_for_state("calm", "offline", timeout_s=40)
    assert ask(server, "calm", "unload")["state"] == "offline"
    assert server.engines("--alias calm") == []


def test_a_pin_loads_a_slot_and_survives_the_board(server: Server) -> None:
    ask(server, "calm", "pin")
    server.wait_for_state("calm", "ready", "idle", timeout_s=40)
    [board] = server.processes("ServeReplica:hal0:board")
    os.kill(board, signal.SIGKILL)
    eventually("a new board knows the pin", lambda: knows_the_pin(server), 60)
    assert chat(server, "calm")[0] == 200
    ask(server, "calm", "unpin")


def knows_the_pin(server: Server) -> bool:
    try:
        record = server.slot("calm")
    except OSError:
        return False
    return record["pinned"] is True and record["state"] in ("ready", "idle", "serving")


def test_unloading_by_force_ends_a_stream_with_an_error(server: Server) -> None:
    body = b'{"model": "loop", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as stream:
        assert stream.readline()
        status, _, _ = server.post("/api/slots/loop/unload?force=1", b"")
        assert status == 200
        rest = stream.read()
    assert b'"error"' in rest.splitlines()[-2] or b'"error"' in rest
    server.wait_for_state("loop", "offline", timeout_s=40)
    assert server.engines("--alias loop") == []


def test_preload(server: Server) -> None:
    server.wait_for_state("preloaded", "ready", "idle", "offline", timeout_s=60)
    assert server.slot("preloaded")["load_seconds"] is not None


def test_a_load_by_hand_ends_a_cooldown(server: Server) -> None:
    assert chat(server, "broken")[0] == 503
    failed = server.slot("broken")
    assert (failed["state"], failed["last_error"]["code"]) == ("error", "engine_exited")
    assert failed["last_error"]["next_try"] > failed["since"]
    with Watcher(server) as watcher:
        ask(server, "broken", "load")
        watcher.wait_for("it is tried at once", lambda e: e["name"] == "broken" and e["state"] == "starting")
        eventually("and fails again", lambda: watcher.moves("broken")[-1] == "error", 20)
    assert ask(server, "broken", "unload")["state"] in ("offline", "unloading", "error")
    server.wait_for_state("broken", "offline", timeout_s=20)


def test_a_pull_goes_on_without_its_client_and_can_be_cancelled(server: Server, hub: Hub) -> None:
    hub.faults["acme/tiny", "big.gguf"] = Fault(bytes_per_second=60_000)
    with Watcher(server) as watcher:
        with pytest.raises(OSError):
            request = urllib.request.Request(
                f"{server.url}/v1/chat/completions",
                b'{"model": "big", "messages": [{"role": "user", "content": "hi"}]}',
                {"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=6)
        server.wait_for_state("big", "pulling", timeout_s=20)
        before = hub.bytes_served("acme/tiny", "big.gguf")
        eventually("bytes come", lambda: hub.bytes_served("acme/tiny", "big.gguf") > before)
        ask(server, "big", "unload")
        server.wait_for_state("big", "offline", timeout_s=20)
        assert "pulling" in watcher.moves("big")
    cancelled_at = hub.bytes_served("acme/tiny", "big.gguf")
    hub.faults.clear()
    assert chat(server, "big")[0] == 200
    size = (server.home / "models/demo/tiny-chat.gguf").stat().st_size
    assert hub.bytes_served("acme/tiny", "big.gguf") < size + cancelled_at, "what had come was not fetched again"


def test_a_gated_model_says_what_to_do(server: Server) -> None:
    status, answer, _ = chat(server, "gated")
    assert (status, answer["error"]["code"]) == (503, "model_gated")
    assert "HF_TOKEN" in str(answer["error"]["message"])


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/slots/nothing/load", 404, "slot_not_found"),
        ("/api/slots/nothing/unload", 404, "slot_not_found"),
        ("/api/slots/calm/unload?force=maybe", 400, "invalid_value"),
        ("/api/slots/calm/explode", 404, "no_route"),
    ],
)
def test_what_cannot_be_asked(server: Server, path: str, status: int, code: str) -> None:
    got, answer, _ = server.post(path, b"")
    assert (got, answer["error"]["code"]) == (status, code)


def test_killed_in_mid_pull_and_started_again(servers: ServerPark, tmp_path: Path) -> None:
    """The bytes that came before the kill are not asked for again."""
    make_models(tmp_path)
    model = tmp_path / "models/demo/tiny-chat.gguf"
    size = model.stat().st_size
    with Hub({"acme/tiny": {"chat.gguf": model}}) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        text = config(f"[{slot(CHAT, model='hf://acme/tiny/chat.gguf')}]")
        hub.faults["acme/tiny", "chat.gguf"] = Fault(bytes_per_second=size / 8)
        servers.stop()
        server = servers.running(text, env=env)
        ask(server, "chat", "load")
        eventually("a quarter has come", lambda: hub.bytes_served("acme/tiny", "chat.gguf") > size / 4, 60)
        server.stop(signal.SIGKILL)
        server.assert_nothing_left()
        hub.faults.clear()
        servers.stop()
        server = servers.running(text, env=env)
        assert chat(server, "chat")[0] == 200
        assert hub.bytes_served("acme/tiny", "chat.gguf") < size * 1.25
        servers.stop()
