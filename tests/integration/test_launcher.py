"""`hal0 up` around a program that only looks like Ray and Serve: what it tells, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve_app.launch.local_server import Follower, LocalServer, Record, events_in
from tests.support.server import eventually, free_port, owned_processes

CONFIG = """
http_options: {{host: 127.0.0.1, port: {port}}}
applications:
  - name: hal0
    import_path: serve_app.app:build
    args: {{slots: [{{name: chat, provider: llama.cpp, model: a.gguf, capabilities: [chat]}}]}}
"""
SERVES = """
import json, os, signal, sys, time, yaml
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from serve_app.launch.news import tell

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/api/slots/events":
            for state, since in (("starting", 1.0), ("ready", 3.5)):
                event = {"id": f"b-{since}", "name": "chat", "state": state, "since": since}
                self.wfile.write(f"id: {event['id']}\\ndata: {json.dumps(event)}\\n\\n".encode())
            self.rfile.read(1)
    def log_message(self, *_):
        pass

print("\\x1b[32mmuch output\\x1b[39m")
os.makedirs(os.environ["SESSION"])
tell("ray", os.environ["SESSION"])
tell("serve")
port = yaml.safe_load(open(sys.argv[-1]))["http_options"]["port"]
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
FAILS = """
from serve_app.launch.news import tell
print("some output")
tell("ray", "/tmp/nowhere/session_1")
tell("failed", "the slot is broken")
import time
time.sleep(600)
"""
DIES = "print('Traceback: why'); raise SystemExit(7)"


class Up:
    """A running one; its processes are known by `home`."""

    def __init__(self, home: Path, program: str, **environ: str) -> None:
        self.home, self.port = home, free_port()
        self.session = home / "ray" / "session_1"
        self.config = home / "config.yaml"
        self.config.write_text(CONFIG.format(port=self.port))
        own = {"HAL0_HOME": str(home), "SESSION": str(self.session), "PYTHONUNBUFFERED": "1"}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.support.up_on", program, str(self.config)],
            env=os.environ | own | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.told: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_until(self, word: str) -> None:
        eventually(f"{word} in {self.told}", lambda: any(word in line for line in self.told))

    def end(self) -> int:
        """Wait for it and for all that it has started."""
        code = self.popen.wait(60)
        self._reader.join(60)
        assert owned_processes(self.home) == []
        return code

    @property
    def records(self) -> list[Path]:
        return list((self.home / "run/up").glob("*"))

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            self.told += (line.rstrip("\n") for line in iter(output.readline, ""))

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            self.popen.wait(60)
        self._reader.join(60)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    ups: list[Up] = []

    def start(program: str, **environ: str) -> Up:
        ups.append(Up(tmp_path, program, **environ))
        return ups[-1]

    yield start
    for one in ups:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_tells_what_comes_up_and_stops(started: Callable[..., Up], number: int) -> None:
    up = started(SERVES)
    up.wait_until("chat: ready after 2.5 s")
    assert up.session.is_dir() and up.records
    up.popen.send_signal(number)
    assert up.end() == 0
    told = [line.partition("  ")[2].partition("s  ")[2] or line for line in up.told]
    assert told == [
        "Ray is up",
        "Serve is up",
        f"hal0 answers on http://127.0.0.1:{up.port} (slots: chat). Ctrl-C stops it.",
        "chat: starting",
        "chat: ready after 2.5 s",
        "hal0 is stopping.",
        "hal0 has stopped.",
    ]
    assert not up.session.exists() and not up.records
    assert (up.home / "logs/serve.log").read_text().splitlines()[0] == "much output"


def test_a_start_that_fails_says_why_and_where_to_look(started: Callable[..., Up]) -> None:
    up = started(FAILS)
    assert up.end() == 1
    assert up.told[1:] == [
        "hal0: the slot is broken",
        "  | some output",
        f"All output is in {up.home}/logs/serve.log, the logs of Ray and Serve in /tmp/nowhere/session_1/logs.",
    ]
    assert not up.records


def test_a_driver_that_dies_is_told_of_with_its_last_words(started: Callable[..., Up]) -> None:
    up = started(DIES)
    assert up.end() == 1
    assert up.told[:2] == ["hal0: Ray and Serve have ended, with exit code 7", "  | Traceback: why"]


def test_nohup_means_it(started: Callable[..., Up]) -> None:
    up = started("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)" + SERVES)
    up.wait_until("hal0 answers on")
    up.popen.terminate()
    assert up.end() == 0

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ignoring = started(SERVES, SESSION=str(up.session))
    finally:
        signal.signal(signal.SIGHUP, before)
    ignoring.wait_until("hal0 answers on")
    ignoring.popen.send_signal(signal.SIGHUP)
    ignoring.wait_until("chat: ready after")
    assert LocalServer(f"http://127.0.0.1:{ignoring.port}").answers()
    assert "hal0 is stopping." not in ignoring.told


def test_systemd_is_told_when_it_answers_and_when_it_stops(started: Callable[..., Up], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        up = started(SERVES, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert systemd.recv(100) == b"READY=1"
        assert LocalServer(f"http://127.0.0.1:{up.port}").answers()
        up.popen.terminate()
        assert systemd.recv(100) == b"STOPPING=1"
        assert up.end() == 0


class Api(BaseHTTPRequestHandler):
    """Ends its stream of events after each of them."""

    asked: list[tuple[str, str | None, str | None]] = []

    def do_GET(self) -> None:
        cursor = self.headers["Last-Event-ID"]
        self.asked.append((self.path, self.headers["Authorization"], cursor))
        if self.headers["Authorization"] != "Bearer key":
            self.send_error(401)
            return
        self.send_response(200)
        self.end_headers()
        if self.path == "/api/slots":
            self.wfile.write(b'{"slots": [{"name": "chat"}]}')
        else:
            number = int((cursor or "b-0")[2:]) + 1
            event = {"id": f"b-{number}", "name": "chat", "state": "ready"}
            self.wfile.write(f": comment\n\nid: b-{number}\ndata: {json.dumps(event)}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    Api.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_its_own_server_is_asked_with_a_key_and_without_a_proxy(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert LocalServer(api, "key").slots() == [{"name": "chat"}]
    with pytest.raises(OSError, match="401"):
        LocalServer(api).slots()
    with pytest.raises(OSError, match="refused"):
        LocalServer(f"http://127.0.0.1:{free_port()}").slots()
    assert not LocalServer(f"http://127.0.0.1:{free_port()}").answers()


def test_events_go_on_where_the_stream_was_cut(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.launch.local_server.AGAIN_S", 0.01)
    heard: list[Record] = []
    follower = Follower(LocalServer(api, "key"), heard.append)
    follower.start()
    eventually("three events", lambda: len(heard) >= 3)
    follower.stop()
    assert [event["id"] for event in heard[:3]] == ["b-1", "b-2", "b-3"]
    assert [cursor for _, _, cursor in Api.asked[:3]] == [None, "b-1", "b-2"]


def test_a_stream_that_is_silent_can_be_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        follower = Follower(LocalServer(f"http://127.0.0.1:{silent.getsockname()[1]}"), lambda _: None)
        follower.start()
        connection, _ = silent.accept()
        with connection:
            assert b"/api/slots/events" in connection.recv(1000)
            follower.stop()
            connection.settimeout(10)
            assert connection.recv(1000) == b""


def test_what_is_no_event_of_a_slot_is_passed_over() -> None:
    lines = [": hi", "", "id: b-1", 'data: {"name": "chat", "state": "ready"}', "data: 7", "data: {}"]
    assert list(events_in(iter(lines))) == [{"name": "chat", "state": "ready"}]
    with pytest.raises(ValueError):
        list(events_in(iter(["data: {"])))
