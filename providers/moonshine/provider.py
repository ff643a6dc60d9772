"""Moonshine: speech recognition in English and nine other languages, a model each, on the CPU or through Vulkan."""

from functools import partial
from typing import ClassVar

from providers.asr.dialect import Features, route
from providers.base import (
    Command,
    Endpoint,
    Health,
    MemoryNeeds,
    ModelFiles,
    NativeEngine,
    Placement,
    Provider,
    Route,
)
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.moonshine.memory import memory_needs
from providers.moonshine.names import ROLES
from providers.moonshine.options import MoonshineSlot
from providers.native.command import native_command, native_environment
from providers.native.health import probe
from providers.spec import SlotSpec


def features(slot: SlotSpec) -> Features:
    """What may work: only the model's files tell whether it knows the times of words and heeds keywords. If it does
    not, the engine refuses them."""
    assert isinstance(slot, MoonshineSlot)
    return Features(languages=frozenset({slot.options.language}), word_times=True, keywords=True)


class Moonshine(Provider[MoonshineSlot]):
    name = "moonshine"
    spec = MoonshineSlot
    capabilities = frozenset({Capability.TRANSCRIPTION})
    devices = frozenset({Device.CPU, Device.VULKAN})
    companions: ClassVar[frozenset[str]] = ROLES

    def memory_needs(self, slot: MoonshineSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def native(self, slot: MoonshineSlot, model: ModelFiles, placement: Placement) -> NativeEngine | None:
        if slot.options.is_child:
            return None
        from providers.asr.server import AsrServer
        from providers.moonshine.loading import load

        return AsrServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def build_env(self, slot: MoonshineSlot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return native_environment(slot.options, placement)

    def start_cmd(self, slot: MoonshineSlot, model: ModelFiles, placement: Placement) -> Command:
        return native_command(slot, slot.options, model, placement)

    async def health(self, endpoint: Endpoint) -> Health:
        return await probe(endpoint)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation) if operation is not Operation.TRANSLATION else None


_route = route(features)
