"""faster-whisper: speech recognition in a hundred languages, and translation to English, on the CPU or through CUDA."""

from functools import partial

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
from providers.native.provider import NativeProvider
from providers.spec import SlotSpec
from providers.whisper.languages import ENGLISH, LANGUAGES, named_english
from providers.whisper.memory import memory_needs
from providers.whisper.options import WhisperSlot


def features(slot: SlotSpec) -> Features:
    """What may work: only the model's files tell whether it knows a language. If it does not, the engine refuses it."""
    languages = frozenset({ENGLISH}) if named_english(slot.model) else LANGUAGES
    return Features(languages=languages, word_times=True, keywords=True)


class FasterWhisper(NativeProvider[WhisperSlot]):
    name = "faster-whisper"
    spec = WhisperSlot
    capabilities = frozenset({Capability.TRANSCRIPTION, Capability.TRANSLATION})
    devices = frozenset({Device.CPU, Device.CUDA})

    def memory_needs(self, slot: WhisperSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def engine(self, slot: WhisperSlot, model: ModelFiles, placement: Placement) -> NativeEngine:
        from providers.asr.server import AsrServer
        from providers.whisper.loading import load

        return AsrServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation)


_route = route(features)
