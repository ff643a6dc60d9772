"""All providers. A new one is one line here."""

from types import MappingProxyType
from typing import Any

from providers.base import Provider
from providers.f5.provider import F5Tts
from providers.flm.provider import Flm
from providers.kokoro.provider import Kokoro
from providers.llamacpp.provider import LlamaCpp
from providers.moonshine.provider import Moonshine
from providers.vllm.provider import Vllm
from providers.whisper.provider import FasterWhisper

ALL: tuple[Provider[Any], ...] = (
    LlamaCpp(),
    Vllm(),
    Flm(),
    Moonshine(),
    FasterWhisper(),
    Kokoro(),
    F5Tts(),
)
PROVIDERS: MappingProxyType[str, Provider[Any]] = MappingProxyType({one.name: one for one in ALL})


def provider(name: str) -> Provider[Any]:
    """Raises KeyError for an unknown name, which the configuration has refused before."""
    return PROVIDERS[name]
