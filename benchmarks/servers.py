"""hal0 as a user starts it, in each of the ways that its HTTP can be taken."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engines import HOST, ask, free_port, get_json, wait_for
from benchmarks.load import Address
from benchmarks.processes import family_of, processes_of
from benchmarks.sides import INGRESS_ROLES, Request, Side
from benchmarks.slots import COLD, SEAT, SlotRecord

UP, PLAIN, HAPROXY = "hal0 up", "hal0 serve run", "hal0 HAProxy"
SWITCHES_OF_USERS = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "HAL0_API_KEYS", "RAY_ADDRESS")
"""What the environment of whoever measures must not decide."""
RESOURCES = {SEAT: 1}
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
COLD_TIMEOUT_S = 60.0
POLL_S = 0.05
REST_S = 1.5
"""Before a load, so that what the last one has taken is there again, as it is between the loads of people."""


@dataclass(frozen=True, slots=True)
class Way:
    """How hal0 is started: the command, which is given a configuration last, and switches of its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    haproxy: bool = False


_UP = (sys.executable, "-m", "serve_app", "up", "--resources", json.dumps(RESOURCES))
WAYS: Mapping[str, Way] = {
    UP: Way(_UP, {}),
    PLAIN: Way(
        (str(Path(sys.executable).with_name("serve")), "run"), {"RAY_OVERRIDE_RESOURCES": json.dumps(RESOURCES)}
    ),
    HAPROXY: Way(_UP, {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}, haproxy=True),
}


class Server(Side):
    """A program in the foreground with everything of it under one folder, by which its processes are known."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self._folder = folder
        self._address = Address(HOST, free_port(), "")

    @contextmanager
    def served(self, command: Sequence[str], environment: Mapping[str, str], ready: str = "/health") -> Iterator[None]:
        """`command`, until the context ends; with every process that it left."""
        log = self._folder / "server.log"
        own = {name: value for name, value in os.environ.items() if name not in SWITCHES_OF_USERS}
        with log.open("wb") as out:
            popen = subprocess.Popen(
                command,
                env={**own, "HAL0_HOME": str(self._folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def answers() -> bool:
            require_alive()
            return ask(self._address, "GET", ready) == 200

        def require_alive() -> None:
            if popen.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {log.read_text(errors='replace')[-3000:]}")

        try:
            wait_for(f"{self.name} answers", answers, START_TIMEOUT_S, POLL_S)
            yield
            require_alive()
        finally:
            self._stop(popen)

    def address(self, slot: str) -> Address:
        return self._address

    def ingress_pids(self) -> list[int]:
        return [one.pid for one in family_of(self._folder) if one.role in INGRESS_ROLES]

    def _stop(self, popen: "subprocess.Popen[bytes]") -> None:
        if popen.poll() is None:
            popen.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(STOP_TIMEOUT_S)
        for pid in processes_of(self._folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        popen.wait()


class Hal0(Server):
    """One of `WAYS`."""

    def __init__(self, name: str, slots: Sequence[SlotRecord], folder: Path) -> None:
        super().__init__(name, folder)
        self._slots, self._way = slots, WAYS[name]

    @contextmanager
    def running(self) -> Iterator[None]:
        self._folder.mkdir(parents=True)
        config = self._folder / "config.yaml"
        config.write_text(json.dumps(serve_config(self._slots, self._address.port)))
        proxy = haproxy_environment(self._folder) if self._way.haproxy else {}
        with self.served((*self._way.command, str(config)), {**self._way.environment, **proxy}):
            yield

    def cold_start_s(self, request: Request) -> float:
        """Once Serve has stopped the slot's last replica."""
        self._wait_until_offline(COLD)
        time.sleep(REST_S)
        return request.first_byte_s(self._address, COLD)

    def swap_s(self, request: Request, leaving: str, coming: str) -> float:
        request.first_byte_s(self._address, leaving)
        self._wait_until_offline(coming)
        time.sleep(REST_S)
        return request.first_byte_s(self._address, coming)

    def _wait_until_offline(self, slot: str) -> None:
        path = f"/api/slots/{slot}"
        wait_for(
            f"{slot} is offline",
            lambda: get_json(self._address, path)["state"] == "offline",
            COLD_TIMEOUT_S,
            POLL_S,
        )


def serve_config(slots: Sequence[SlotRecord], port: int) -> dict[str, Any]:
    args = {"slots": list(slots)}
    policy = {"policy_function": "serve_app.autoscaling:SlotPolicy", "policy_kwargs": {"config": args}}
    application = {
        "name": "hal0",
        "route_prefix": "/",
        "import_path": "serve_app.app:build",
        "args": args,
        "autoscaling_policy": policy,
    }
    return {"http_options": {"host": HOST, "port": port}, "applications": [application]}


def haproxy_environment(folder: Path) -> dict[str, str]:
    """Serve's defaults are fixed paths and ports, which another hal0 on this machine may be using."""
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
    }
