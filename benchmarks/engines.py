"""Engine processes without hal0, and how to ask them."""

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Address
from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.llamacpp.options import LlamaCppSlot

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.005
"""Short, since a cold start is measured with it."""


class Engine:
    """One process that answers on `address`."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], address: Address, log: Path) -> None:
        self.address = address
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        self._log = log

    def wait_until_ready(self) -> None:
        def answers() -> bool:
            if self._popen.poll() is not None:
                raise RuntimeError(f"the engine ended: {self._log.read_text(errors='replace')[-2000:]}")
            return ask(self.address, "GET", "/health") == 200

        wait_for("the engine answers", answers, START_TIMEOUT_S, POLL_S)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def files_of(slot: LlamaCppSlot) -> ModelFiles:
    return ModelFiles(Path(slot.model), {role: Path(source) for role, source in slot.companions.items()})


def placement_in(folder: Path) -> Placement:
    return Placement(
        device=Device.CPU,
        host=HOST,
        port=free_port(),
        token=secrets.token_urlsafe(24),
        cache_dir=folder / "engine-cache",
        base_env=os.environ,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def ask(address: Address, method: str, path: str, body: bytes | None = None) -> int:
    """The status; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(request_to(address, method, path, body), timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def get_json(address: Address, path: str) -> Any:
    with urllib.request.urlopen(request_to(address, "GET", path), timeout=10) as response:
        return json.load(response)


def request_to(address: Address, method: str, path: str, body: bytes | None = None) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    if address.key:
        headers["Authorization"] = f"Bearer {address.key}"
    return urllib.request.Request(f"http://{address.host}:{address.port}{path}", body, headers, method=method)


def wait_for(what: str, probe: Callable[[], bool], timeout_s: float, poll_s: float) -> None:
    """Raises TimeoutError with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)
