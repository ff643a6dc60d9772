"""Moonshine: speech recognition in English and nine other languages, a model each, on the CPU or through Vulkan."""

from functools import partial
from typing import ClassVar

from providers.asr.dialect import Features, route
from providers.base import (
    MemoryNeeds,
    ModelFiles,
    NativeEngine,
    Placement,
    Route,
)
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.moonshine.memory import memory_needs
from providers.moonshine.names import ROLES
from providers.moonshine.options import MoonshineSlot
from providers.native.provider import NativeProvider
from providers.spec import SlotSpec


def features(slot: SlotSpec) -> Features:
    """What may work: only the model's files tell whether it knows the times of words and heeds keywords. If it does
    not, the engine refuses them."""
    assert isinstance(slot, MoonshineSlot)
    return Features(languages=frozenset({slot.options.language}), word_times=True, keywords=True)


class Moonshine(NativeProvider[MoonshineSlot]):
    name = "moonshine"
    spec = MoonshineSlot
    capabilities = frozenset({Capability.TRANSCRIPTION})
    devices = frozenset({Device.CPU, Device.VULKAN})
    companions: ClassVar[frozenset[str]] = ROLES

    def memory_needs(self, slot: MoonshineSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def engine(self, slot: MoonshineSlot, model: ModelFiles, placement: Placement) -> NativeEngine:
        from providers.asr.server import AsrServer
        from providers.moonshine.loading import load

        return AsrServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation) if operation is not Operation.TRANSLATION else None


_route = route(features)
