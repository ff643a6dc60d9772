"""`hal0 up`: `serve run` in the foreground, with a line when it answers, and nothing left when it ends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from providers.guarding import guarded
from serve_app.config import ConfigError, load_config_file
from serve_app.fit_check import IN_A_FILE, require_fit, this_machine, wants_of
from serve_app.machine import found_resources
from serve_app.security import load_keys, require_closed
from serve_app.settings import load_settings

STOP_GRACE_S = 30.0
START_TIMEOUT_S = 300.0
POLL_S = 0.2
PROBE_TIMEOUT_S = 2.0
CURRENT_CLUSTER = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
"""Where Ray says which cluster runs on this machine."""

SERVE_ENVIRONMENT = {
    # In HAProxy mode an ingress replica waits this long for load balancers before it stops: 30 s by default.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # On the replica's own loop an answer waits for its reader in HAProxy mode; from another thread, Serve queues all of
    # it without a bound.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What a replica imports: workers have it before they are needed (`warm_workers.py`).
    "RAY_preload_python_modules": "ray.serve._private.replica,serve_app.slot",
    # Ray starts its workers at niceness 15, and engines would inherit that.
    "RAY_worker_niceness": "0",
    "PYTHONUNBUFFERED": "1",
}


class Stopped(Exception):
    """The user asked to stop."""


def up(config_path: Path, resources: Mapping[str, float]) -> int:
    """Run until stopped; the exit code for the shell. Raises `ConfigError`."""
    config, host, port = load_config_file(config_path)
    require_closed(host, load_keys(config, load_settings()), config.ingress.allow_open)
    require_free_port(host, port)
    declared = {**found_resources(), **resources}
    if not _joins_a_cluster():
        here = [this_machine(declared)]
        require_fit(config, wants_of(config, here, load_settings().models_dir), here, IN_A_FILE)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_stopped)
    server = _start(config_path, declared)
    try:
        if not _wait_until_it_answers(server, host, port):
            return _failed(server) if server.poll() is not None else _silent()
        names = ", ".join(slot.name for slot in config.slots)
        print(f"hal0 answers on {url_of(host, port)} (slots: {names}). Ctrl-C stops it.", flush=True)
        return _failed(server) if server.wait() else 0
    except Stopped:
        print("hal0 is stopping.", flush=True)
        return 0
    finally:
        _stop(server)


def require_free_port(host: str, port: int) -> None:
    """Raises `ConfigError` if another program listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = f"http_options.port: {port} on {host} cannot be used: {error.strerror}; allowed: a free port"
            raise ConfigError((problem,)) from error


def _joins_a_cluster() -> bool:
    """Whether Serve will use a Ray that runs already, whose nodes it knows better than we do here."""
    return "RAY_ADDRESS" in os.environ or CURRENT_CLUSTER.exists()


def url_of(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{shown}:{port}"


def _start(config_path: Path, resources: Mapping[str, float]) -> subprocess.Popen[bytes]:
    """`serve run` under a guard, so that it dies with us however we die."""
    serve = Path(sys.executable).with_name("serve")
    program = str(serve) if serve.exists() else shutil.which("serve") or "serve"
    environment = SERVE_ENVIRONMENT | dict(os.environ)
    if resources:
        environment["RAY_OVERRIDE_RESOURCES"] = json.dumps(dict(resources))
    return subprocess.Popen(
        guarded((program, "run", str(config_path)), signal.SIGINT, STOP_GRACE_S),
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """False if `serve run` ended instead, or says nothing for too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{url_of(host, port)}/health", timeout=PROBE_TIMEOUT_S) as response,
        ):
            if response.status == 200:
                return True
        time.sleep(POLL_S)
    return False


def _failed(server: subprocess.Popen[bytes]) -> int:
    print(f"hal0: `serve run` ended with exit code {server.returncode}; its output above says why.", file=sys.stderr)
    return 1


def _silent() -> int:
    print(f"hal0: no answer within {START_TIMEOUT_S:g} s; the output above says why.", file=sys.stderr)
    return 1


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Let the guard end everything; a second signal does not cut that short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    raise Stopped
