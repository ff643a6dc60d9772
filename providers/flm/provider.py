"""FastFlowLM: chat, pictures, embeddings and speech recognition together, on an XDNA 2 NPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from providers.base import (
    Command,
    Endpoint,
    EngineFront,
    Health,
    MemoryNeeds,
    ModelFiles,
    Node,
    Placement,
    Provider,
    Route,
)
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.flm.advice import advice
from providers.flm.command import PROGRAM, node_of, program_environment, serve_command
from providers.flm.detection import npu_found
from providers.flm.dialect.routes import route
from providers.flm.library import FlmLibrary
from providers.flm.memory import memory_needs
from providers.flm.options import FlmSlot
from providers.flm.preflight import preflight
from providers.flm.progress import load_progress
from providers.native.health import probe
from providers.pulling import OwnModels


class Flm(Provider[FlmSlot]):
    name = "flm"
    spec = FlmSlot
    capabilities = frozenset({Capability.CHAT, Capability.VISION, Capability.EMBEDDING, Capability.TRANSCRIPTION})
    devices = frozenset({Device.NPU})
    programs: ClassVar[tuple[str, ...]] = (PROGRAM,)

    def devices_of(self, programs: Mapping[str, Path]) -> frozenset[Device]:
        program = programs.get(PROGRAM)
        return frozenset({Device.NPU}) if program is not None and npu_found(program) else frozenset()

    def memory_needs(self, slot: FlmSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def load_progress(self, output: str) -> float | None:
        return load_progress(output)

    def own_models(self, slot: FlmSlot, node: Node) -> OwnModels:
        return FlmLibrary(slot, node)

    async def preflight(self, slot: FlmSlot, node: Node) -> None:
        await preflight(slot, node)

    def advice(self, output: str) -> str | None:
        return advice(output)

    def build_env(self, slot: FlmSlot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return program_environment(slot, node_of(placement))

    def start_cmd(self, slot: FlmSlot, model: ModelFiles, placement: Placement) -> Command:
        return serve_command(slot, placement)

    def front(self, slot: FlmSlot, placement: Placement, engine: Endpoint) -> EngineFront:
        from providers.flm.front import FlmFront

        return FlmFront(slot, placement, engine)

    async def health(self, endpoint: Endpoint) -> Health:
        """The front's."""
        return await probe(endpoint)

    def infer(self, operation: Operation) -> Route | None:
        return route(operation)
