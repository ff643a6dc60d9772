"""The Ray of one machine, with what serving needs and no more.

`ray.init` starts more than that, and has no switches for most of it. What is left out, with its share of memory on a
machine with two cores: the dashboard (99 MiB; with it off, Ray still starts its server, for usage statistics), the
autoscaler's monitor (48; there is one node), the log monitor (45; it prints what workers write to the driver, all of
which is in files, too), the agent for metrics and the dashboard (78), and the one for runtime environments (45).
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray._private import ray_constants, services, worker
from ray._private.node import Node
from ray._private.parameter import RayParams

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Of memory that is shared between processes. Requests do not pass through it; by default Ray sets a third of the
machine's memory aside for it, and offers that much less for claims."""
ESSENTIAL = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
STAND_IN = Path(__file__).with_name("stand_in_agent.py")
METRICS, RUNTIME_ENVS = "--dashboard_agent_command=", "--runtime_env_agent_command="
PORTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        METRICS: ("metrics_agent_port=-1", "metrics_export_port=-1", "dashboard_agent_listen_port=-1"),
        # It has no word for one that is not in use, and asks it only for replicas with an environment of their own.
        RUNTIME_ENVS: ("runtime_env_agent_port=1",),
    }
)
"""What the raylet waits for, by the argument that has the agent's command."""


@dataclass(frozen=True, slots=True)
class Services:
    """Those of Ray that are wanted. `runtime_envs`: for applications and replicas with a `runtime_env`."""

    dashboard: bool = False
    log_monitor: bool = False
    runtime_envs: bool = False


class OwnNode:
    """A head node that dies with this process. Started by the main thread: its end is what the kernel watches.

    It listens on loopback only, while Ray otherwise lets anybody in who can reach the machine; and it is not written
    down as the machine's current cluster, so that no other program joins it by chance.
    """

    def __init__(self, wanted: Services) -> None:
        parameters: Any = RayParams(
            node_ip_address=LOOPBACK,
            include_dashboard=wanted.dashboard,
            dashboard_host=LOOPBACK,
            no_monitor=True,
            object_store_memory=OBJECT_STORE_BYTES,
        )
        # Declared as text, used as a switch.
        parameters.include_log_monitor = wanted.log_monitor
        kind = Node if wanted.dashboard else _WithoutDashboard
        agents = () if wanted.dashboard else (METRICS,) if wanted.runtime_envs else (METRICS, RUNTIME_ENVS)
        with _stand_ins_for(agents):
            self._node = kind(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)

    def join(self, namespace: str, log_to_driver: bool) -> None:
        """Make this process the driver."""
        # Without it, Ray would take loopback for a name of the machine's address.
        vars(worker)["_global_node"] = self._node
        ray.init(address=self._node.gcs_address, namespace=namespace, log_to_driver=log_to_driver)

    @property
    def session(self) -> Path:
        return Path(str(self._node.address_info["session_dir"]))

    def lost(self) -> str | None:
        """The name of a process without which nothing works, if it has ended."""
        for kind in ESSENTIAL:
            if any(info.process.poll() is not None for info in self._node.all_processes.get(kind, ())):
                return str(kind)
        return None


class _WithoutDashboard(Node):
    def start_api_server(self, **_: Any) -> None:
        pass


@contextmanager
def _stand_ins_for(agents: tuple[str, ...]) -> Iterator[None]:
    """While it is open, a raylet that is started gets stand-ins for these of its agents."""
    start: Callable[..., Any] = services.start_ray_process

    def start_with_stand_ins(command: list[str], kind: str, *args: Any, **more: Any) -> Any:
        if kind == ray_constants.PROCESS_TYPE_RAYLET:
            command = [with_stand_in(one, agents, command) for one in command]
        return start(command, kind, *args, **more)

    vars(services)["start_ray_process"] = start_with_stand_ins
    try:
        yield
    finally:
        vars(services)["start_ray_process"] = start


def with_stand_in(argument: str, agents: tuple[str, ...], command: list[str]) -> str:
    """`argument` of the raylet's `command`, or what stands for it if it has the command of one of `agents`."""
    agent = next((agent for agent in agents if argument.startswith(agent)), None)
    if agent is None:
        return argument
    values = dict(one.split("=", 1) for one in command if "=" in one)
    stand_in = [sys.executable, "-I", "-S", str(STAND_IN), values["--session_dir"], values["--node_id"], *PORTS[agent]]
    return agent + subprocess.list2cmdline(stand_in)
