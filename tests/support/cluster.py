"""A cluster of Ray nodes, each on a machine of its own (`cluster_machine.py`), and hal0 on it."""

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from providers.tiny.chat import LOOPING, TALKING, make_chat_model
from serve_app.launch.environment import FAST_PATH, LOST_NODES, UNCOLLECTED, UNWATCHED
from tests.support.cluster_lan import Lan
from tests.support.cluster_machine import Machine, plain_environment
from tests.support.server import Record, eventually

BIN = Path(sys.executable).parent
RAY_PORT, DASHBOARD_PORT, HTTP_PORT = 6379, 8265, 8000
OBJECT_STORE_BYTES = 128 * 1024 * 1024
KEY = "key-of-the-cluster"
RAY_TOKEN = "token-among-the-nodes-of-the-cluster"
"""Without it nobody may start anything there, nor ask the dashboard."""
ENGINE_ANSWERED = "print_timing"
NODE_UP = "Ray runtime started"
FIRST_NUMBER = 2
"""Of a machine's address."""

Resources = Mapping[str, float]


@dataclass(slots=True)
class ClusterNode:
    """A machine that is to run one Ray node. Has what tests ask a `Server` for: `url`, `get`, `post`."""

    machine: Machine
    resources: Resources
    starts: int = 0
    ray: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.machine.address}:{HTTP_PORT}"

    @property
    def log(self) -> Path:
        return self.machine.home / f"ray-start-{self.starts}.log"

    @property
    def ray_id(self) -> str:
        """By which Ray and the slots' records know the node."""
        [(_, line)] = self.machine.processes("/raylet ")
        return next(word.removeprefix("--node_id=") for word in line.split() if word.startswith("--node_id="))

    def start_ray(self, *arguments: str) -> None:
        self.starts += 1
        self.ray = self.machine.start(
            BIN / "ray",
            "start",
            "--block",
            "--disable-usage-stats",
            "--include-log-monitor=false",
            "--num-cpus=1",
            f"--node-ip-address={self.machine.address}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--resources={json.dumps(dict(self.resources))}",
            *arguments,
            log=self.log,
        )

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self.ray is not None and self.ray.poll() is None, f"Ray ended:\n{self.log.read_text()[-4000:]}"
            return NODE_UP in self.log.read_text(errors="replace")

        eventually(f"Ray runs on {self.machine.name}", up, 60)

    def power_off(self) -> None:
        self.machine.power_off()
        assert self.ray is not None
        self.ray.wait(10)

    def request(self, path: str, body: Record | None = None, method: str | None = None) -> urllib.request.Request:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        return urllib.request.Request(self.url + path, data, headers, method=method)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.request(path), timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: Record, timeout_s: float = 90.0) -> tuple[int, Record]:
        """Status and parsed body; errors are answers, too."""
        try:
            with urllib.request.urlopen(self.request(path, body), timeout=timeout_s) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def slot(self, name: str) -> Record:
        record: Record = self.get(f"/api/slots/{name}")
        return record

    def engine_has_answered(self, slot: str) -> bool:
        """An engine of this slot on this node, as it says itself."""
        logs = (self.machine.home / "logs").glob(f"{slot}-*.log")
        return any(ENGINE_ANSWERED in log.read_text(errors="replace") for log in logs)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.get("/health"))
        return False


class RayCluster:
    """Started by `started`. The first node is the head."""

    def __init__(self, lan: Lan, nodes: Mapping[str, Resources], folder: Path) -> None:
        environ = plain_environment() | FAST_PATH | LOST_NODES | UNCOLLECTED | UNWATCHED
        environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RAY_TOKEN}
        environ |= {"HAL0_API_KEYS": KEY, "PATH": f"{BIN}:{environ['PATH']}"}
        self._nodes = {
            name: ClusterNode(Machine(lan, name, number, folder / name, environ), resources)
            for number, (name, resources) in enumerate(nodes.items(), FIRST_NUMBER)
        }
        self.head = next(iter(self._nodes.values()))
        self._deploys = 0

    def __getitem__(self, name: str) -> ClusterNode:
        return self._nodes[name]

    @property
    def nodes(self) -> Sequence[ClusterNode]:
        return tuple(self._nodes.values())

    def start(self) -> None:
        for node in self.nodes:
            node.machine.power_on()
            make_models(node.machine.home / "models" / "demo")
        self.head.start_ray(
            "--head", f"--port={RAY_PORT}", "--include-dashboard=true", f"--dashboard-host={self.head.machine.address}"
        )
        self.head.wait_until_up()
        for node in self.nodes[1:]:
            self.join(node)
        for node in self.nodes[1:]:
            node.wait_until_up()

    def join(self, node: ClusterNode) -> None:
        node.start_ray(f"--address={self.head.machine.address}:{RAY_PORT}")

    def return_of(self, node: ClusterNode) -> None:
        """The machine is on again and has joined as a new node of Ray's."""
        node.machine.power_on()
        self.join(node)
        node.wait_until_up()

    def node_with(self, ray_id: str) -> ClusterNode:
        return next(node for node in self.nodes if node.machine.processes(ray_id))

    def deploy(self, config: str) -> None:
        """`serve deploy`; it is over when Serve says so."""
        self._deploys += 1
        file = self.head.machine.home / f"config-{self._deploys}.yaml"
        file.write_text(config)
        before = self._deployed_at()
        self.head.machine.run(BIN / "serve", "deploy", f"--address={self._dashboard}", file)
        eventually("Serve has begun", lambda: self._deployed_at() != before, 60)
        eventually("it is deployed", self._is_running, 120)

    @property
    def _dashboard(self) -> str:
        return f"http://{self.head.machine.address}:{DASHBOARD_PORT}"

    def application(self) -> Record:
        """What Serve says of hal0's application; empty if it knows of none."""
        url = f"{self._dashboard}/api/serve/applications/"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {RAY_TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            found: Record = json.load(response).get("applications", {}).get("hal0", {})
        return found

    def _deployed_at(self) -> float:
        return float(self.application().get("last_deployed_time_s", 0))

    def _is_running(self) -> bool:
        application = self.application()
        assert application["status"] not in ("DEPLOY_FAILED", "UNHEALTHY"), application["message"]
        return str(application["status"]) == "RUNNING"

    def wait_until_answered(self, nodes: Sequence[ClusterNode] = (), timeout_s: float = 60.0) -> None:
        for node in nodes or self.nodes:
            eventually(f"{node.machine.name} answers", node.answers, timeout_s)

    def close(self) -> None:
        for node in self.nodes:
            node.machine.close()
            if node.ray is not None:
                node.ray.wait(10)


def make_models(folder: Path) -> None:
    folder.mkdir(parents=True)
    make_chat_model(folder / "tiny-chat.gguf", "tiny-chat", TALKING)
    make_chat_model(folder / "tiny-loop.gguf", "tiny-loop", LOOPING)


@contextmanager
def started(nodes: Mapping[str, Resources], folder: Path) -> Iterator[RayCluster]:
    lan = Lan()
    cluster = RayCluster(lan, nodes, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        lan.close()
