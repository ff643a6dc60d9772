"""hal0 as a user starts it, in each of the ways that Serve can take its HTTP."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.engines import HOST, free_port, get_json, wait_for
from benchmarks.load import Address
from benchmarks.slots import SlotRecord

PLAIN, HAPROXY, THROUGHPUT = "hal0 serve run", "hal0 HAProxy", "hal0 HAProxy, throughput"
SWITCHES: Mapping[str, dict[str, str]] = {
    PLAIN: {},
    HAPROXY: {"RAY_SERVE_ENABLE_HA_PROXY": "1"},
    THROUGHPUT: {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
SERVE_SWITCHES = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "HAL0_API_KEYS")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


class Hal0:
    """`python -m serve_app up` with everything of it under one folder, by which all of its processes are known."""

    def __init__(self, name: str, slots: Sequence[SlotRecord], folder: Path) -> None:
        self.name = name
        self._slots, self._folder = slots, folder
        self._address = Address(HOST, free_port(), "")

    @contextmanager
    def running(self) -> Iterator[None]:
        self._folder.mkdir(parents=True)
        config = self._folder / "config.yaml"
        config.write_text(json.dumps(serve_config(self._slots, self._address.port)))
        log = self._folder / "hal0.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "serve_app", "up", str(config)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(popen, log)
            yield
        finally:
            self._stop(popen)

    def offers(self, slot: str) -> bool:
        return True

    def address(self, slot: str) -> Address:
        return self._address

    def make_cold(self, slot: str) -> None:
        """Return when Serve has stopped the slot's last replica."""
        path = f"/api/slots/{slot}"
        wait_for(f"{slot} is offline", lambda: get_json(self._address, path)["state"] == "offline", 60, 0.1)

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if name not in SERVE_SWITCHES}
        own["HAL0_HOME"] = str(self._folder)
        switches = SWITCHES[self.name]
        return own | switches | (haproxy_environment(self._folder) if switches else {})

    def _wait_until_ready(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        def answers() -> bool:
            text = log.read_text(errors="replace")
            if popen.poll() is not None:
                raise RuntimeError(f"hal0 up ended: {text[-3000:]}")
            return "hal0 answers on" in text

        wait_for(f"{self.name} answers", answers, START_TIMEOUT_S, 0.1)

    def _stop(self, popen: "subprocess.Popen[bytes]") -> None:
        if popen.poll() is None:
            popen.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(STOP_TIMEOUT_S)
        for pid in processes_of(self._folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        popen.wait()


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


def processes_of(folder: Path) -> list[int]:
    """Every living process that has `folder` in its command line or its environment, HAProxy included."""
    sign = str(folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if sign in (entry / "cmdline").read_bytes() or sign in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
