"""Which of FastFlowLM's models serves which capability. Pure."""

from collections.abc import Iterable, Mapping

from providers.capabilities import Capability

HEARING, EMBEDDING = "whisper-v3:turbo", "embed-gemma:300m"
"""The program knows no other model of their kind, and loads neither as a chat model: it would load another instead."""
FIXED: Mapping[Capability, str] = {Capability.TRANSCRIPTION: HEARING, Capability.EMBEDDING: EMBEDDING}


def models_of(model: str, capabilities: Iterable[Capability]) -> dict[Capability, str]:
    """`model` is the slot's."""
    return {capability: FIXED.get(capability, model) for capability in capabilities}
