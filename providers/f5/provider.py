"""F5-TTS: voice cloning, on the CPU or on a GPU of NVIDIA's or AMD's.

It needs PyTorch, which the rest of this project does without: `options.python` names the Python of another virtual
environment, such as `scripts/f5-venv` makes.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from providers.base import (
    MemoryNeeds,
    ModelFiles,
    NativeEngine,
    Placement,
    Route,
)
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.f5.files import ROLES
from providers.f5.memory import memory_needs
from providers.f5.options import F5Slot
from providers.native.gpus import VISIBLE_DEVICES
from providers.native.provider import NativeProvider
from providers.spec import SlotSpec
from providers.tts.dialect import VoiceBook, speech_route

WAITING: Mapping[str, str] = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE"})
"""How the threads that compute wait for each other. By default they turn in circles, which on a machine with more to do
than cores makes speech many times slower (measured on two)."""


def voices(slot: SlotSpec) -> VoiceBook:
    """It has none of its own: clients bring them."""
    return VoiceBook(voices=None, clones=True)


class F5Tts(NativeProvider[F5Slot]):
    name = "f5-tts"
    spec = F5Slot
    capabilities = frozenset({Capability.SPEECH})
    devices = frozenset({Device.CPU, *VISIBLE_DEVICES})
    companions: ClassVar[frozenset[str]] = ROLES
    child_env = WAITING

    def memory_needs(self, slot: F5Slot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def engine(self, slot: F5Slot, model: ModelFiles, placement: Placement) -> NativeEngine:
        from providers.f5.loading import load
        from providers.tts.server import TtsServer

        return TtsServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation)


_route = speech_route(voices)
