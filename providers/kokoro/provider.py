"""Kokoro: speech in American and British English, Spanish, French, Hindi, Italian and Brazilian Portuguese, and with
further packages in Japanese and Mandarin."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
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
from providers.errors import ProviderError
from providers.kokoro.files import ROLE, found
from providers.kokoro.memory import memory_needs
from providers.kokoro.names import DEFAULT_VOICE, voice_of, voices_of
from providers.kokoro.options import KokoroSlot
from providers.kokoro.voice_files import names_in
from providers.native.provider import NativeProvider
from providers.spec import SlotSpec
from providers.tts.blend import parsed
from providers.tts.dialect import VoiceBook, speech_route
from providers.voices import Voice


def book(slot: SlotSpec) -> VoiceBook:
    """What may be there: only the file of voices tells. If one is not, the engine refuses it."""
    assert isinstance(slot, KokoroSlot)
    return VoiceBook({voice.id: voice for voice in voices_of(slot.options.voices)}, DEFAULT_VOICE)


class Kokoro(NativeProvider[KokoroSlot]):
    name = "kokoro"
    spec = KokoroSlot
    capabilities = frozenset({Capability.SPEECH})
    devices = frozenset({Device.CPU, Device.VULKAN, Device.CUDA})
    companions: ClassVar[frozenset[str]] = frozenset({ROLE})

    def memory_needs(self, slot: KokoroSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return memory_needs(slot, model, device)

    def voices(self, slot: KokoroSlot, model: ModelFiles | None) -> tuple[Voice, ...]:
        """Those that clients can name: aliases, too, and none that is not configured."""
        names: Sequence[str] = slot.options.voices
        if model is not None:
            # A file that cannot be read will not load either, and the slot then says why.
            with suppress(OSError, ProviderError):
                names = [name for name in names_in(found(model).voices) if name in slot.options.voices]
        return (*voices_of(names), *(_alias(*one) for one in sorted(slot.options.voice_aliases.items())))

    def engine(self, slot: KokoroSlot, model: ModelFiles, placement: Placement) -> NativeEngine:
        from providers.kokoro.loading import load
        from providers.tts.server import TtsServer

        return TtsServer(partial(load, slot, model, placement), slot.options, placement, slot.parallel_requests)

    def infer(self, operation: Operation) -> Route | None:
        return _route(operation)


def _alias(name: str, meant: str) -> Voice:
    """A blend speaks the language of its first voice."""
    shares = parsed(meant)
    first = voice_of(next(iter(shares)))
    return Voice(name, f"{name} ({meant})", first.language, first.gender if len(shares) == 1 else "")


_route = speech_route(book)
