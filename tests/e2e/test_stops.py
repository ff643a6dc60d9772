"""However the server is stopped, nothing of it is left, and the next start works."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.demo import CHAT, config, make_models
from tests.support.server import Server, ServerPark, eventually

pytestmark = pytest.mark.e2e

CONFIG = config(f"[{CHAT}]")


def ask(server: Server) -> None:
    status, answer, _ = server.post(
        "/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": ""}]}
    )
    assert status == 200, answer


def interrupt(server: Server) -> None:
    assert server.stop(signal.SIGINT) == 0


def terminate(server: Server) -> None:
    assert server.stop(signal.SIGTERM) == 0


def kill_the_launcher(server: Server) -> None:
    server.stop(signal.SIGKILL)


def kill_serve_run(server: Server) -> None:
    [serve_run] = [pid for pid in server.processes("serve run") if "guard.py" not in cmdline(pid)]
    os.kill(serve_run, signal.SIGKILL)
    assert server.popen.wait(60) == 1


def ray_stop(server: Server) -> None:
    ray = Path(sys.executable).with_name("ray")
    subprocess.run([ray, "stop", "--force"], check=True, capture_output=True, timeout=60)
    server.popen.wait(60)


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.parametrize("end", [interrupt, terminate, kill_the_launcher, kill_serve_run, ray_stop])
def test_nothing_is_left(servers: ServerPark, end: Callable[[Server], None]) -> None:
    """Each case starts where the one before it ended."""
    server = servers.running(CONFIG, prepare=make_models)
    ask(server)
    assert len(server.engines("--alias chat")) == 1
    end(server)
    eventually("no engine is left", lambda: not server.engines("--alias chat"), 20)
    server.assert_nothing_left()


def test_a_taken_port_is_said_before_anything_starts(servers: ServerPark) -> None:
    server = servers.running(CONFIG, prepare=make_models)
    second = subprocess.run(
        [sys.executable, "-m", "serve_app", "up", str(server.home / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert "http_options.port" in second.stderr and "Address already in use" in second.stderr
    ask(server)


def test_plain_serve_run_serves_too(servers: ServerPark) -> None:
    """Without `hal0 up`: everything works, with Ray's own pace."""
    servers.stop()
    server = servers.running(CONFIG, prepare=make_models, launcher=("serve", "run"))
    ask(server)
    server.stop(signal.SIGINT)
    server.assert_nothing_left()


def test_the_haproxy_ingress_serves_and_leaves_nothing(servers: ServerPark) -> None:
    server = servers.running(CONFIG, env={"RAY_SERVE_ENABLE_HA_PROXY": "1"}, prepare=make_models)
    ask(server)
    assert server.processes("haproxy")
    _, _, headers = server.post("/tokenize", {"model": "chat", "content": "a"}, {"x-request-id": "mine"})
    assert headers.get_all("x-request-id") == ["mine"]
    server.stop(signal.SIGKILL)
    server.assert_nothing_left()
