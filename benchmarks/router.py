"""llama-server's own router, a peer of hal0 for what llama.cpp serves."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines import (
    HOST,
    START_TIMEOUT_S,
    Engine,
    ask,
    files_of,
    free_port,
    get_json,
    placement_in,
    wait_for,
)
from benchmarks.load import Address
from benchmarks.sides import Request, Side
from benchmarks.slots import COLD, SlotRecord
from providers.base import Placement
from providers.llamacpp.command import engine_arguments
from providers.llamacpp.options import LlamaCppSlot

ROUTER = "llama-server router"
SET_BY_ROUTER = ("host", "port", "alias")


class Router(Side):
    """llama-server in its router mode: one address in front of engines that it starts itself. So it serves no slot
    whose engine is another program."""

    def __init__(self, program: Path, slots: Sequence[SlotRecord], folder: Path) -> None:
        super().__init__(ROUTER)
        self._program, self._folder = program, folder
        self._slots = [slot for slot in slots if slot["options"]["binary"] == str(program)]
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

    def address(self, slot: str) -> Address:
        assert self._engine is not None
        return self._engine.address

    def cold_start_s(self, request: Request) -> float:
        """Once the router has unloaded the model."""
        address = self.address(COLD)
        ask(address, "POST", "/models/unload", b'{"model":"%s"}' % COLD.encode())
        wait_for(f"{COLD} is unloaded", lambda: self._status(COLD) == "unloaded", START_TIMEOUT_S, 0.1)
        return request.first_byte_s(address, COLD)

    def _status(self, slot: str) -> str:
        models = get_json(self.address(slot), "/models")["data"]
        return next(str(model["status"]["value"]) for model in models if model["id"] == slot)


def preset_text(slots: Sequence[SlotRecord], placement: Placement) -> str:
    """The slots' own arguments in the router's file format."""
    lines = ["version = 1"]
    for record in slots:
        slot = LlamaCppSlot.model_validate(record)
        arguments = engine_arguments(slot, files_of(slot), placement)
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
