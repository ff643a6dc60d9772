"""F5-TTS: voice cloning, on the CPU or on a GPU of NVIDIA's or AMD's.

It needs PyTorch, which the rest of this project does without: `options.python` names the Python of another virtual
environment, such as `scripts/f5-venv` makes.
"""

from functools import partial
from typing import ClassVar

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
from providers.f5.files import ROLES
from providers.f5.memory import memory_needs
from providers.f5.options import F5Options, F5Slot
from providers.native.command import native_command, native_environment
from providers.native.gpus import VISIBLE_DEVICES, seeing_its_gpus
from providers.native.health import probe
from providers.spec import SlotSpec
from providers.tts.dialect import VoiceBook, speech_route

WAITING = "OMP_WAIT_POLICY"
"""How the threads that compute wait for each other. By default they turn in circles, which on a machine with more to do
than cores makes speech many times slower (measured on two)."""


def voices(slot: SlotSpec) -> VoiceBook:
    """It has none of its own: clients bring them."""
    return VoiceBook(voices=None, clones=True)


def _of_a_child(options: F5Options, placement: Placement) -> F5Options:
    seeing = seeing_its_gpus(options, placement)
    return seeing.model_copy(update={"env": {WAITING: "PASSIVE"} | dict(seeing.env)})


class F5Tts(Provider[F5Slot]):
    name = "f5-tts"
    spec = F5Slot
    capabilities = frozenset({Capability.SPEECH})
    devices = frozenset({Device.CPU, *VISIBLE_DEVICES})
    companions: ClassVar[frozenset[str]] = ROLES

    def memory_needs(self, slot: F5Slot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def native(self, slot: F5Slot, model: ModelFiles, placement: Placement) -> NativeEngine | None:
        if slot.options.is_child:
            return None
        from providers.f5.loading import load
        from providers.tts.server import TtsServer

        return TtsServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def build_env(self, slot: F5Slot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return native_environment(_of_a_child(slot.options, placement), placement)

    def start_cmd(self, slot: F5Slot, model: ModelFiles, placement: Placement) -> Command:
        return native_command(slot, _of_a_child(slot.options, placement), model, placement)

    async def health(self, endpoint: Endpoint) -> Health:
        return await probe(endpoint)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation)


_route = speech_route(voices)
