"""The whole application as a user runs it: `hal0 up`, one at a time, with everything of it under one folder."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.1

Record = dict[str, Any]
Launcher = tuple[str, ...]
UP: Launcher = ("hal0", "up")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: str, probe: Callable[[], bool], timeout_s: float = 30.0, poll_s: float = POLL_S) -> None:
    """Poll until `probe` answers True; fail with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(poll_s)


class Server:
    """A running `hal0 up`. `home` is its HAL0_HOME, by which all of its processes are known."""

    def __init__(
        self, config: Path, port: int, home: Path, extra_env: Mapping[str, str], log: Path, launcher: Launcher = UP
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.home, self.log = home, log
        environ = os.environ | {"HAL0_HOME": str(home)} | dict(extra_env)
        with log.open("wb") as out:
            self.popen = subprocess.Popen(
                [str(Path(sys.executable).with_name(launcher[0])), *launcher[1:], str(config)],
                env=environ,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        def answers() -> bool:
            assert self.popen.poll() is None, f"the server ended:\n{self.output()[-4000:]}"
            with contextlib.suppress(OSError):
                return bool(self.get("/health"))
            return False

        eventually("the server answers", answers, START_TIMEOUT_S)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)

    def slot(self, name: str) -> Record:
        record: Record = self.get(f"/api/slots/{name}")
        return record

    def post(self, path: str, body: bytes | Record, headers: Mapping[str, str] = {}) -> tuple[int, Record, Any]:
        """Status, parsed body, headers; errors are answers, too."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=90) as response:
                return response.status, json.load(response), response.headers
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()), error.headers

    def wait_for_state(self, name: str, *states: str, timeout_s: float = 30.0) -> None:
        eventually(f"slot {name} is {' or '.join(states)}", lambda: self.slot(name)["state"] in states, timeout_s)

    def processes(self, word: str = "") -> list[int]:
        """Pids of all processes that belong to this server and have `word` in their command line."""
        return [pid for pid, line in owned_processes(self.home) if word in line]

    def engines(self, model: str) -> list[int]:
        """Pids of engines of this model file, without their guards."""
        lines = owned_processes(self.home)
        return [pid for pid, line in lines if model in line and "guard.py" not in line]

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop as a person would; the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(STOP_TIMEOUT_S)

    def assert_nothing_left(self) -> None:
        eventually(f"no process is left: {owned_processes(self.home)}", lambda: not self.processes(), 45)


def owned_processes(home: Path) -> list[tuple[int, str]]:
    """Pid and command line of every living process that has `home` in its environment or its command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line and (str(home) in line or str(home).encode() in (folder / "environ").read_bytes()):
                found.append((int(folder.name), line))
    return found


class ServerPark:
    """Starts servers one after the other: two Ray clusters are too many for a small machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._current: Server | None = None
        self._current_key: object = None

    def running(
        self, config_text: str, env: Mapping[str, str] | None = None, prepare: Any = None, launcher: Launcher = UP
    ) -> Server:
        """A server on this configuration: the one that runs already, or a new one in its place.

        `PORT` in the text stands for a free port; `prepare(home)` makes files before the start.
        """
        key = (config_text, tuple(sorted((env or {}).items())), launcher)
        if self._current is not None and self._current_key == key and self._current.popen.poll() is None:
            return self._current
        self.stop()
        self._count += 1
        home = self.folder / f"home{self._count}"
        home.mkdir()
        if prepare is not None:
            prepare(home)
        port = free_port()
        config = home / "config.yaml"
        config.write_text(config_text.replace("PORT", str(port)))
        return self._start(config, port, home, env or {}, key, launcher)

    def again(self, server: Server) -> Server:
        """Another start of one that has ended: the same home, the same configuration."""
        assert server.popen.poll() is not None
        self._count += 1
        port = int(server.url.rpartition(":")[2])
        return self._start(server.home / "config.yaml", port, server.home, {}, None, UP)

    def _start(
        self, config: Path, port: int, home: Path, env: Mapping[str, str], key: object, launcher: Launcher
    ) -> Server:
        self._current = Server(config, port, home, env, self.folder / f"server{self._count}.log", launcher)
        self._current_key = key
        self._current.wait_until_ready()
        return self._current

    def stop(self) -> None:
        if self._current is None:
            return
        server, self._current = self._current, None
        try:
            if server.popen.poll() is None:
                server.stop()
        finally:
            for pid in server.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def park(folder: Path) -> Iterator[ServerPark]:
    servers = ServerPark(folder)
    try:
        yield servers
    finally:
        servers.stop()
