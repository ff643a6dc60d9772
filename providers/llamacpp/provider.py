"""llama.cpp: chat, completions, embeddings, rerank and vision from GGUF files, on any device."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from providers.base import (
    Command,
    Endpoint,
    Health,
    MemoryNeeds,
    ModelFiles,
    Placement,
    Provider,
    Route,
)
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.health import HEALTH_PATH, probe
from providers.llamacpp.command import PROGRAM, engine_command
from providers.llamacpp.detection import listed_devices
from providers.llamacpp.dialect import route
from providers.llamacpp.environment import own_environment
from providers.llamacpp.memory import memory_needs
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.progress import load_progress


class LlamaCpp(Provider[LlamaCppSlot]):
    name = "llama.cpp"
    spec = LlamaCppSlot
    capabilities = frozenset(
        {Capability.CHAT, Capability.COMPLETION, Capability.VISION, Capability.EMBEDDING, Capability.RERANK}
    )
    devices = frozenset({Device.CPU, Device.VULKAN, Device.ROCM, Device.CUDA})
    companions: ClassVar[frozenset[str]] = frozenset({"mmproj"})
    programs: ClassVar[tuple[str, ...]] = (PROGRAM,)

    def devices_of(self, programs: Mapping[str, Path]) -> frozenset[Device]:
        program = programs.get(PROGRAM)
        return listed_devices(program) if program is not None else frozenset()

    def memory_needs(self, slot: LlamaCppSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def load_progress(self, output: str) -> float | None:
        return load_progress(output)

    def build_env(self, slot: LlamaCppSlot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return dict(placement.base_env) | own_environment(slot, placement)

    def start_cmd(self, slot: LlamaCppSlot, model: ModelFiles, placement: Placement) -> Command:
        return engine_command(slot, model, placement, tuple(own_environment(slot, placement)))

    async def health(self, endpoint: Endpoint) -> Health:
        """`/health` answers 503 while the model loads and 200 once it answers."""
        return await probe(endpoint, lambda status, _: f"{HEALTH_PATH} answered {status}")

    def infer(self, operation: Operation) -> Route | None:
        return route(operation)
