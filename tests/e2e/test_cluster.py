"""hal0 on three machines: a request that enters on one is answered by an engine on another; machines come and go."""

import contextlib
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.demo import CHAT, config, slot
from tests.support import cluster_lan
from tests.support.cluster import ENGINE_ANSWERED, HTTP_PORT, KEY, ClusterNode, RayCluster, started
from tests.support.server import Record, ServerPark, eventually
from tests.support.steady_load import SteadyLoad
from tests.support.stranger import answer_to, get, speaks_http2
from tests.support.stream import ChatStream

pytestmark = pytest.mark.e2e

USER = [{"role": "user", "content": "hi"}]
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
NODES = {
    "head": {"seat": 1},
    "east": {"seat": 1, "east": 1, "outer": 1},
    "west": {"seat": 1, "west": 1, "outer": 1},
}
LOOP = slot(CHAT, model="demo/tiny-loop.gguf", context_size=65536, parallel_requests=4)
EASTERN = slot(CHAT, name="eastern", resources="{custom: {east: 0.1}}")
WESTERN = slot(LOOP, name="western", resources="{custom: {west: 0.1}}")
ROAMING = slot(LOOP, name="roaming", resources="{custom: {outer: 1}}")
CROWD = slot(
    CHAT,
    name="crowd",
    model="demo/tiny-loop.gguf",
    resources="{custom: {seat: 1}}",
    parallel_requests=1,
    max_replicas=3,
    idle_after_s=2,
)
LATER = slot(EASTERN, name="later")
SHORT = {"messages": USER, "max_tokens": 5}


def cluster_config(*slots: str) -> str:
    text = config(f"[{', '.join(slots)}]", ingress="{replicas: every_node}")
    http = f"proxy_location: Disabled\nhttp_options: {{host: 0.0.0.0, port: {HTTP_PORT}}}"
    return text.replace("http_options: {host: 127.0.0.1, port: PORT}", http)


CONFIG = cluster_config(EASTERN, WESTERN, ROAMING, CROWD)
CHANGED = cluster_config(slot(EASTERN, description="changed", context_size=2048), WESTERN, ROAMING, CROWD, LATER)


@pytest.fixture(scope="module")
def cluster(servers: ServerPark, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    if (reason := cluster_lan.why_not()) is not None:
        pytest.skip(reason)
    servers.stop()
    with started(NODES, tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.deploy(CONFIG)
        cluster.wait_until_answered()
        yield cluster


def chat(node: ClusterNode, name: str, **more: object) -> tuple[int, Record]:
    return node.post("/v1/chat/completions", {"model": name, **SHORT, **more})


def stream_of(node: ClusterNode, name: str) -> ChatStream:
    return ChatStream(node, name, headers=AUTHORIZATION)


def busy_engine_slots(node: ClusterNode, name: str) -> int:
    return sum(one["is_processing"] for one in node.get(f"/slots?model={name}"))


def test_slots_land_where_their_resources_are(cluster: RayCluster) -> None:
    """And each machine answers on its own address."""
    for node in cluster.nodes:
        for name in ("eastern", "western"):
            status, answer = chat(node, name)
            assert status == 200, answer
    for name in ("east", "west"):
        record = cluster.head.slot(f"{name}ern")
        assert record["nodes"] == [cluster[name].ray_id]
        assert cluster[name].machine.processes(f"--alias {name}ern")
        with urllib.request.urlopen(cluster.head.request(f"/api/slots/{name}ern/logs"), timeout=30) as log:
            assert ENGINE_ANSWERED in log.read().decode(), "an engine's log is read from any machine"
    for node in cluster.nodes:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{node.url}/v1/models", timeout=10)
        refused.value.close()
        assert refused.value.code == 401


def test_a_stream_crosses_from_one_machine_to_another_piece_by_piece(cluster: RayCluster) -> None:
    """Its engine never stops by itself, so what is read here is read before the last."""
    east = cluster["east"]
    stream = stream_of(east, "western")
    stream.read_events(5)
    assert busy_engine_slots(east, "western") == 1
    stream.leave()
    eventually("the engine stopped generating", lambda: busy_engine_slots(east, "western") == 0, 10)


def test_an_engine_lets_in_nobody_without_its_token(cluster: RayCluster) -> None:
    east, west = cluster["east"], cluster["west"]
    assert chat(east, "western")[0] == 200
    [(replica, _)] = west.machine.processes("ServeReplica:hal0:western")
    ports = [port for port, pid in west.machine.open_ports() if pid == replica]
    [gate] = [port for port in ports if not speaks_http2(west.machine.address, port)]

    def tells(*pieces: bytes) -> bytes:
        return answer_to(west.machine.address, gate, *pieces)

    for path in ("/", "/health", "/v1/models", "/props", "/slots", "/metrics", "/nothing"):
        for authorization in ("", "Bearer", "Bearer wrong", f"Bearer {KEY}", "Basic d3Jvbmc6d3Jvbmc="):
            assert tells(get(path, authorization)).startswith(b"HTTP/1.1 401 "), (path, authorization)
    assert tells(b"\x16\x03\x01" + bytes(500) + b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")
    assert tells(b"GET /health HTTP/1.1\r\nX: " + b"y" * 100_000)[:12] in (b"", b"HTTP/1.1 401")
    with contextlib.ExitStack() as strangers:
        for _ in range(300):
            silent = socket.create_connection((west.machine.address, gate), timeout=5)
            strangers.enter_context(silent).sendall(b"GET / HTTP/1.1\r\n")
        assert chat(east, "western")[0] == 200, "those who never say all are no hindrance"


def test_nothing_but_the_ingress_and_gates_and_ray_listens_to_the_network(cluster: RayCluster) -> None:
    for name in ("eastern", "western", "roaming"):
        assert chat(cluster.head, name)[0] == 200
    for node in cluster.nodes:
        lines = dict(node.machine.processes())
        for port, pid in node.machine.open_ports():
            if is_rays(line := lines[pid]) or port == HTTP_PORT or speaks_http2(node.machine.address, port):
                continue
            assert "ServeReplica:hal0:" in line, f"{line} listens on {port}"
            assert answer_to(node.machine.address, port, get("/health")).startswith(b"HTTP/1.1 401 "), line


def is_rays(line: str) -> bool:
    """A process that Ray starts by itself, and not for a replica."""
    return any(word in line for word in ("/site-packages/ray/", "ray::DashboardAgent", "ray::RuntimeEnvAgent"))


def test_two_machines_use_one_engine_and_one_of_them_loses_its_ingress(cluster: RayCluster) -> None:
    east, west = cluster["east"], cluster["west"]
    streams = [stream_of(node, "western") for node in (east, cluster.head)]
    for stream in streams:
        stream.read_events(3)
    assert busy_engine_slots(west, "western") == 2
    [(ingress, _)] = east.machine.processes("ServeReplica:hal0:ingress")
    os.kill(ingress, signal.SIGKILL)
    eventually("its request is given up", lambda: busy_engine_slots(west, "western") == 1, 10)
    streams[1].read_events(50)
    streams[1].leave()
    cluster.wait_until_answered([east])
    assert chat(east, "western")[0] == 200


def test_a_slot_grows_onto_all_machines_and_back_while_it_is_used(cluster: RayCluster) -> None:
    def replicas() -> int:
        return int(cluster.head.slot("crowd")["replicas"])

    def all_have_answered() -> bool:
        return all(node.engine_has_answered("crowd") for node in cluster.nodes)

    question = {"model": "crowd", "messages": USER, "max_tokens": 100}
    questions = [question, {**question, "stream": True}]
    urls = [node.url for node in cluster.nodes]
    with SteadyLoad(urls[:1], questions, KEY) as few:
        eventually("one replica answers", lambda: few.everybody_was_answered, 60)
        with SteadyLoad(urls * 3, questions, KEY) as many:
            eventually("there are three", lambda: replicas() == 3, 60)
            eventually("all three machines have answered", all_have_answered, 60)
        eventually("there is one again", lambda: replicas() == 1, 60)
        mark = few.mark()
        eventually("it goes on", lambda: few.all_answered_since(mark), 30)
    assert many.failures + few.failures == []


def test_a_changed_configuration_is_deployed_while_it_is_used(cluster: RayCluster) -> None:
    questions = [
        {"model": name, **SHORT, "stream": stream} for name in ("eastern", "western") for stream in (False, True)
    ]
    with SteadyLoad([node.url for node in cluster.nodes] * 2, questions, KEY) as load:
        eventually("everybody is answered", lambda: load.everybody_was_answered, 60)
        unchanged = cluster["west"].machine.processes("--alias western")
        cluster.deploy(CHANGED)
        eventually("the change is there", lambda: cluster.head.slot("eastern")["description"] == "changed", 30)
        mark = load.mark()
        eventually("everybody is answered by what is new", lambda: load.all_answered_since(mark, len(questions)), 60)
    assert load.failures == []
    assert cluster["west"].machine.processes("--alias western") == unchanged, "what has not changed stays loaded"
    assert chat(cluster.head, "later")[0] == 200


def test_a_machine_without_power(cluster: RayCluster) -> None:
    """Who listened to its engine is told, who waited is answered by another, and it can come back."""
    head = cluster.head
    stream = stream_of(head, "roaming")
    stream.read_events(5)
    [place] = head.slot("roaming")["nodes"]
    lost = cluster.node_with(place)
    whole: list[tuple[int, Record]] = []
    asker = threading.Thread(target=lambda: whole.append(chat(head, "roaming", max_tokens=1500)))
    asker.start()
    eventually("both are being answered", lambda: busy_engine_slots(head, "roaming") == 2, 20)
    lost.power_off()
    events = [line for line in stream.rest().splitlines() if line.startswith(b"data:")]
    assert json.loads(events[-1].removeprefix(b"data:"))["error"]["code"] == "engine_died"
    asker.join()
    [(status, answer)] = whole
    assert status == 200, answer
    cluster.return_of(lost)
    eventually("it is known to be elsewhere", lambda: head.slot("roaming")["nodes"] not in ([], [place]), 60)
    cluster.wait_until_answered([lost])
    for name in ("eastern", "western", "roaming"):
        assert chat(lost, name)[0] == 200
