"""Slots that want the same thing: every request is answered, nobody starves, and no more is unloaded than must be."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.demo import CHAT, config, make_models, slot
from tests.support.server import Record, Server, ServerPark, eventually
from tests.support.swaps import fewest_swaps
from tests.support.watcher import Watcher

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
ONE_UNIT = "{custom: {unit: 1}}"
NAMES = ("red", "green", "blue")
SLOTS = ", ".join(
    [
        *(slot(CHAT, name=name, resources=ONE_UNIT, parallel_requests=4, unload_after_s=600) for name in NAMES),
        slot(CHAT, name="left", unload_after_s=600),
        slot(CHAT, name="right", unload_after_s=600),
        slot(CHAT, name="endless", model="demo/tiny-loop.gguf", resources="{custom: {solo: 1}}", context_size=65536),
        slot(CHAT, name="other", resources="{custom: {solo: 1}}", unload_after_s=600),
        slot(CHAT, name="keeper", resources="{custom: {lone: 1}}"),
        slot(CHAT, name="hopeless", resources="{custom: {lone: 1}}", load_wait_s=20),
    ]
)
SCHEDULING = "{turn_s: 3, groups: [{slots: [left, right], resident: one}]}"


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    text = config(f"[{SLOTS}]").replace("ingress: {}", f"scheduling: {SCHEDULING}")
    env = {"RAY_OVERRIDE_RESOURCES": '{"unit": 1, "solo": 1, "lone": 1}'}
    return servers.running(text, env=env, prepare=make_models)


def chat(server: Server, name: str, **more: object) -> tuple[int, Record, Any]:
    return server.post("/v1/chat/completions", {"model": name, "messages": USER, "max_tokens": 5} | more)


def test_200_requests_of_20_clients_for_three_slots_on_one_unit(server: Server) -> None:
    dice = random.Random(4)
    wishes = [[dice.choice(NAMES) for _ in range(10)] for _ in range(20)]

    def client(names: list[str]) -> list[tuple[str, int, Record]]:
        return [(name, *chat(server, name)[:2]) for name in names]

    with Watcher(server) as watcher, ThreadPoolExecutor(20) as clients:
        began = time.monotonic()
        answers = [answer for answers in clients.map(client, wishes) for answer in answers]
        took_s = time.monotonic() - began
        loads = sum(
            event["type"] == "state"
            and event["state"] == "ready"
            and event["name"] in NAMES
            and previous(watcher, event) == "warming"
            for event in tuple(watcher.events)
        )
    assert len(answers) == 200
    for name, status, answer in answers:
        assert status == 200, answer
        assert answer["model"] == name
        assert answer["choices"][0]["message"]["content"]
    least = fewest_swaps(wishes)
    print(f"\n{loads} loads for 200 requests in {took_s:.1f} s; the least possible is {least}")
    assert loads >= least


def previous(watcher: Watcher, event: Record) -> str:
    before = [one for one in watcher.of(event["name"]) if number(one) < number(event)]
    return str(before[-1]["state"]) if before else ""


def number(event: Record) -> int:
    return int(event["id"].rpartition("-")[2])


def test_a_busy_slot_gives_way_when_its_turn_is_over(server: Server) -> None:
    """`endless` is asked again and again, without a pause."""
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            assert chat(server, "endless", max_tokens=200)[0] == 200

    with ThreadPoolExecutor(4) as clients, Watcher(server) as watcher:
        asking = [clients.submit(keep_asking) for _ in range(4)]
        try:
            watcher.wait_for("endless serves", lambda e: e["name"] == "endless" and e["state"] == "serving")
            assert chat(server, "other")[0] == 200, "its turn comes"
            waiting = [e for e in watcher.of("other") if e["waiting"]]
            assert waiting and waiting[0]["waiting"]["blockers"] == ["endless"]
            watcher.wait_for("endless is back", lambda e: e["name"] == "endless" and e["state"] == "unloading")
            eventually("endless is loaded again", lambda: watcher.moves("endless")[-1] == "serving", 60)
        finally:
            over.set()
        for one in asking:
            one.result(60)


def test_slots_of_a_group_are_never_there_together(server: Server) -> None:
    assert chat(server, "left")[0] == 200
    assert chat(server, "right")[0] == 200
    server.wait_for_state("left", "offline", timeout_s=30)
    assert server.engines("--alias left") == []
    with Watcher(server) as watcher:
        assert chat(server, "left")[0] == 200
        watcher.wait_for("left is ready", lambda e: e["name"] == "left" and e["state"] == "ready")
        gone = next(number(e) for e in watcher.of("right") if e["state"] == "offline")
        loads = next(number(e) for e in watcher.of("left") if e["state"] == "starting")
        assert gone < loads


def test_a_pinned_slot_does_not_give_way_and_that_is_said(server: Server) -> None:
    assert server.post("/api/slots/keeper/pin", b"")[0] == 200
    server.wait_for_state("keeper", "ready", "idle", timeout_s=30)
    status, answer, headers = chat(server, "hopeless")
    assert (status, answer["error"]["code"]) == (503, "no_room"), answer
    assert "keeper" in answer["error"]["message"] and int(headers["retry-after"]) >= 1
    assert server.slot("keeper")["state"] in ("ready", "idle")
    assert server.post("/api/slots/keeper/unpin", b"")[0] == 200
    eventually("there is room now", lambda: chat(server, "hopeless")[0] == 200, 30)
    server.wait_for_state("keeper", "offline", timeout_s=30)


def test_a_slot_without_a_client_left_is_not_loaded(server: Server) -> None:
    """Its one client leaves while it waits for its place."""
    assert server.post("/api/slots/keeper/unload", b"")[0] == 200
    assert server.post("/api/slots/hopeless/pin", b"")[0] == 200
    server.wait_for_state("hopeless", "ready", "idle", timeout_s=30)
    assert server.post("/api/slots/hopeless/unpin", b"")[0] == 200
    assert chat(server, "hopeless")[0] == 200
    eventually("nobody waits", lambda: server.slot("keeper")["queued"] == 0, 10)
    assert server.slot("keeper")["state"] == "offline"


def test_the_memory_floor_unloads_what_is_idle(servers: ServerPark) -> None:
    """A floor that no machine has."""
    slots = slot(CHAT, name="loose", idle_after_s=1, unload_after_s=600)
    pinned = slot(CHAT, name="fixed", pin="true", idle_after_s=1)
    text = config(f"[{slots}, {pinned}]").replace("ingress: {}", "scheduling: {memory_floor_gib: 100000}")
    server = servers.running(text, prepare=make_models)
    assert chat(server, "loose")[0] == 200
    server.wait_for_state("loose", "offline", timeout_s=60)
    assert server.slot("fixed")["state"] in ("ready", "idle")
