"""However the server is stopped, nothing of it is left, and the next start works."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.demo import CHAT, config, make_models
from tests.support.server import UP, Server, ServerPark, eventually

pytestmark = pytest.mark.e2e

CONFIG = config(f"[{CHAT}]")
TERMINAL = ("python", "-m", "tests.support.terminal", *UP)
"""`hal0 up` in a terminal of its own."""


def ask(server: Server) -> None:
    status, answer, _ = server.post(
        "/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": ""}]}
    )
    assert status == 200, answer


def hal0(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Another command of the same user."""
    return subprocess.run(
        [sys.executable, "-m", "serve_app", *arguments],
        env=os.environ | {"HAL0_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def process(server: Server, word: str) -> int:
    """The pid of the one with `word` in its command line, its guard not counted."""
    [pid] = [pid for pid in server.processes(word) if "guard.py" not in cmdline(pid)]
    return pid


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def session_of(server: Server) -> Path:
    [running] = json.loads(hal0(server, "status", "--json").stdout)
    return Path(running["session"])


def interrupt(server: Server) -> None:
    assert server.stop(signal.SIGINT) == 0


def kill_the_launcher(server: Server) -> None:
    server.stop(signal.SIGKILL)


def kill_serve(server: Server) -> None:
    os.kill(process(server, "serve_app.run"), signal.SIGKILL)
    assert server.popen.wait(60) == 1


def ray_stop(server: Server) -> None:
    ray = Path(sys.executable).with_name("ray")
    subprocess.run([ray, "stop", "--force"], check=True, capture_output=True, timeout=60)
    assert server.popen.wait(60) == 1
    assert "has ended" in server.output()


def no_engine_is_left(server: Server) -> None:
    eventually("no engine is left", lambda: not server.engines("--alias chat"), 20)


def test_it_tells_what_it_does_and_stops_when_it_is_told(servers: ServerPark) -> None:
    server = servers.running(CONFIG, prepare=make_models)
    ask(server)
    eventually("it tells of the slot", lambda: "chat: ready after" in server.output())
    told = server.output()
    assert f"hal0 answers on {server.url} (slots: chat)" in told
    assert told.index("Ray is up") < told.index("hal0 answers on") < told.index("chat: starting")
    assert "\x1b" not in told and "INFO" not in told
    assert "Running config file" in (server.home / "logs/serve.log").read_text()

    status = hal0(server, "status")
    assert status.returncode == 0, status.stderr
    assert f"{server.url} (pid {server.popen.pid})" in status.stdout
    assert status.stdout.splitlines()[-1].split()[:2] == ["chat", server.slot("chat")["state"]]

    second = hal0(server, "up", str(server.home / "config.yaml"))
    assert second.returncode == 2
    assert f"pid {server.popen.pid}" in second.stderr and "hal0 down" in second.stderr
    ask(server)

    session = session_of(server)
    assert session.is_dir()
    assert "hal0 has stopped." in hal0(server, "down").stdout
    assert server.popen.wait(0) == 0
    no_engine_is_left(server)
    server.assert_nothing_left()
    assert not session.exists()
    assert not list((server.home / "run/up").iterdir())
    assert hal0(server, "status").returncode == 3
    assert hal0(server, "down").returncode == 0


@pytest.mark.parametrize("end", [kill_the_launcher, kill_serve, ray_stop])
def test_nothing_is_left(servers: ServerPark, end: Callable[[Server], None]) -> None:
    """Each case starts where the one before it ended."""
    server = servers.running(CONFIG, prepare=make_models)
    ask(server)
    assert len(server.engines("--alias chat")) == 1
    end(server)
    no_engine_is_left(server)
    server.assert_nothing_left()


def test_nothing_is_left_when_its_terminal_is_closed(servers: ServerPark) -> None:
    server = servers.running(CONFIG, prepare=make_models, launcher=TERMINAL)
    ask(server)
    session = session_of(server)
    server.stop(signal.SIGKILL)
    no_engine_is_left(server)
    server.assert_nothing_left()
    assert not session.exists() and not list((server.home / "run/up").iterdir())


def test_the_next_one_puts_away_what_could_not_be(servers: ServerPark) -> None:
    """Launcher and guard are killed at once, and something that they had started lives on."""
    server = servers.running(CONFIG, prepare=make_models)
    ask(server)
    session = session_of(server)
    [record] = (server.home / "run/up").glob("*.json")
    mark = json.loads(record.read_text())["mark"]
    other_home = str(server.home.with_name("nowhere"))
    orphan, stranger = (
        subprocess.Popen(["sleep", "600"], env={"HAL0_UP": sign, "HAL0_HOME": home}, start_new_session=True)
        for sign, home in ((mark, other_home), (f"{mark}0", other_home))
    )
    try:
        [guard] = [pid for pid in server.processes("serve_app.run") if "guard.py" in cmdline(pid)]
        for pid in (server.popen.pid, guard):
            os.kill(pid, signal.SIGKILL)
        no_engine_is_left(server)
        server.popen.wait()
        assert session.is_dir() and record.exists()

        again = servers.again(server)
        # Until then it may be the earlier one that answers.
        eventually("the next one answers", lambda: "hal0 answers on" in again.output(), 60)
        assert "hal0 has put away what an earlier hal0" in again.output()
        assert orphan.wait(10) == -signal.SIGTERM
        assert stranger.poll() is None
        assert not session.exists()
        ask(again)
        interrupt(again)
        again.assert_nothing_left()
        assert not list((server.home / "run/up").iterdir())
    finally:
        for process in (orphan, stranger):
            process.kill()
            process.wait()


def test_a_taken_port_is_said_before_anything_starts(servers: ServerPark, tmp_path: Path) -> None:
    """By somebody else's: it has another HAL0_HOME."""
    server = servers.running(CONFIG, prepare=make_models)
    second = subprocess.run(
        [sys.executable, "-m", "serve_app", "up", str(server.home / "config.yaml")],
        env=os.environ | {"HAL0_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert "http_options.port" in second.stderr and "Address already in use" in second.stderr
    ask(server)


def test_plain_serve_run_serves_too(servers: ServerPark) -> None:
    """Without `hal0 up`: everything works, with Ray's own pace, and it says what there would be to gain."""
    servers.stop()
    server = servers.running(CONFIG, prepare=make_models, launcher=("serve", "run"))
    ask(server)
    eventually("it says what it would gain", lambda: "This is plain `serve run`" in server.output())
    server.stop(signal.SIGINT)
    server.assert_nothing_left()


def test_the_haproxy_ingress_serves_and_leaves_nothing(servers: ServerPark) -> None:
    server = servers.running(CONFIG, env={"RAY_SERVE_ENABLE_HA_PROXY": "1"}, prepare=make_models)
    ask(server)
    assert server.processes("haproxy")
    assert "RAY_SERVE_ENABLE_HA_PROXY" in server.output()
    _, _, headers = server.post("/tokenize", {"model": "chat", "content": "a"}, {"x-request-id": "mine"})
    assert headers.get_all("x-request-id") == ["mine"]
    server.stop(signal.SIGKILL)
    server.assert_nothing_left()
