"""Engines without hal0: the bare one, on the command line that hal0's slot uses, and llama-server's own router."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import Address, first_byte_s
from benchmarks.slots import COLD, THROTTLED, SlotRecord
from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.llamacpp.command import engine_arguments
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.provider import LlamaCpp

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.005
"""Short, since a cold start is measured with it."""

SET_BY_ROUTER = ("host", "port", "alias")


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

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class BareEngines:
    """One engine for every slot but the cold one, which is started anew for every measurement."""

    def __init__(self, slots: Sequence[SlotRecord], folder: Path) -> None:
        self._slots = {slot["name"]: slot for slot in slots}
        self._folder = folder
        self._running: dict[str, Engine] = {}

    def start(self) -> None:
        for name in self._slots:
            if name != COLD:
                self._running[name] = self._spawn(name)
        for engine in self._running.values():
            engine.wait_until_ready()

    def stop(self) -> None:
        for engine in self._running.values():
            engine.stop()
        self._running.clear()

    def address(self, slot: str) -> Address:
        return self._running[slot].address

    def cold_start_s(self, path: str, body: dict[str, Any]) -> float:
        """Seconds from the engine's spawn to the first byte of its first answer."""
        began = time.perf_counter()
        engine = self._spawn(COLD)
        try:
            engine.wait_until_ready()
            first_byte_s(engine.address, path, body, START_TIMEOUT_S)
            return time.perf_counter() - began
        finally:
            engine.stop()

    def _spawn(self, name: str) -> Engine:
        slot = LlamaCppSlot.model_validate(self._slots[name])
        placement = placement_in(self._folder)
        model = ModelFiles(Path(slot.model))
        provider = LlamaCpp()
        return Engine(
            provider.start_cmd(slot, model, placement).argv,
            provider.build_env(slot, model, placement),
            Address(HOST, placement.port, placement.token),
            self._folder / f"bare-{name}.log",
        )


class Router:
    """llama-server in its router mode: one address in front of engines that it starts itself."""

    name = "llama-server router"

    def __init__(self, program: Path, slots: Sequence[SlotRecord], folder: Path) -> None:
        self._program, self._folder = program, folder
        self._slots = [slot for slot in slots if slot["name"] != THROTTLED]
        self._engine: Engine | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        preset = self._folder / "router.ini"
        preset.write_text(preset_text(self._slots, placement_in(self._folder)))
        address = Address(HOST, free_port(), secrets.token_urlsafe(24))
        arguments = ("--models-preset", str(preset), "--models-max", "0", "--threads-http", "64")
        self._engine = Engine(
            (str(self._program), "--host", HOST, "--port", str(address.port), *arguments),
            os.environ | {"LLAMA_API_KEY": address.key},
            address,
            self._folder / "router.log",
        )
        try:
            self._engine.wait_until_ready()
            yield
        finally:
            self._engine.stop()

    def offers(self, slot: str) -> bool:
        """All but the throttled one: the router starts no program other than itself."""
        return any(one["name"] == slot for one in self._slots)

    def address(self, slot: str) -> Address:
        assert self._engine is not None
        return self._engine.address

    def make_cold(self, slot: str) -> None:
        """Return when the router has unloaded the model."""
        address = self.address(slot)
        ask(address, "POST", "/models/unload", b'{"model":"%s"}' % slot.encode())
        wait_for(f"{slot} is unloaded", lambda: self._status(slot) == "unloaded", START_TIMEOUT_S, 0.1)

    def _status(self, slot: str) -> str:
        models = get_json(self.address(slot), "/models")["data"]
        return next(str(model["status"]["value"]) for model in models if model["id"] == slot)


def preset_text(slots: Sequence[SlotRecord], placement: Placement) -> str:
    """The slots' own arguments in the router's file format."""
    lines = ["version = 1"]
    for record in slots:
        slot = LlamaCppSlot.model_validate(record)
        arguments = engine_arguments(slot, ModelFiles(Path(slot.model)), placement)
        lines += ["", f"[{slot.name}]"]
        lines += [f"{name} = {value}" for name, value in pairs(arguments) if name not in SET_BY_ROUTER]
    return "\n".join([*lines, ""])


def pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names without dashes and their values, in a preset's words for switches: on, or off for a `--no-` one."""
    for index, name in enumerate(arguments):
        if not name.startswith("--"):
            continue
        following = arguments[index + 1] if index + 1 < len(arguments) else "--"
        if not following.startswith("--"):
            yield name[2:], following
        elif name.startswith("--no-"):
            yield name[5:], "off"
        else:
            yield name[2:], "on"


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


@contextmanager
def running(engines: BareEngines) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.callback(engines.stop)
        engines.start()
        yield
