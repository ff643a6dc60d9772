"""vLLM: chat, completions, pictures, embeddings and reranking for many clients at once, on GPUs or the CPU."""

from typing import ClassVar

from providers.base import Command, Endpoint, Health, MemoryNeeds, ModelFiles, Node, Placement, Provider, Route
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.vllm.advice import advice
from providers.vllm.command import PROGRAM, engine_command
from providers.vllm.dialect.routes import route
from providers.vllm.environment import own_environment
from providers.vllm.health import probe
from providers.vllm.memory import memory_needs
from providers.vllm.options import VllmSlot
from providers.vllm.preflight import preflight
from providers.vllm.progress import load_progress
from providers.vllm.sleeping import sleep, wake


class Vllm(Provider[VllmSlot]):
    name = "vllm"
    spec = VllmSlot
    capabilities = frozenset(
        {Capability.CHAT, Capability.COMPLETION, Capability.VISION, Capability.EMBEDDING, Capability.RERANK}
    )
    devices = frozenset({Device.CPU, Device.CUDA, Device.ROCM})
    names_companions: ClassVar[bool] = True
    programs: ClassVar[tuple[str, ...]] = (PROGRAM,)

    def memory_needs(self, slot: VllmSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def load_progress(self, output: str) -> float | None:
        return load_progress(output)

    async def preflight(self, slot: VllmSlot, node: Node) -> None:
        await preflight(slot, node)

    def advice(self, output: str) -> str | None:
        return advice(output)

    def may_sleep(self, slot: VllmSlot) -> bool:
        return slot.options.sleep_when_idle

    async def sleep(self, slot: VllmSlot, endpoint: Endpoint) -> None:
        await sleep(endpoint, slot.options.sleep_level)

    async def wake(self, slot: VllmSlot, endpoint: Endpoint) -> None:
        await wake(endpoint, slot.options.sleep_level)

    def build_env(self, slot: VllmSlot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return dict(placement.base_env) | own_environment(slot, placement)

    def start_cmd(self, slot: VllmSlot, model: ModelFiles, placement: Placement) -> Command:
        return engine_command(slot, model, placement, tuple(own_environment(slot, placement)))

    async def health(self, endpoint: Endpoint) -> Health:
        return await probe(endpoint)

    def infer(self, operation: Operation) -> Route | None:
        return route(operation)
