"""What a slot that speaks may configure, whichever library computes."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from providers.native.options import NativeOptions

VoiceName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TtsOptions(NativeOptions):
    default_voice: str | None = Field(
        default=None, min_length=1, description="of requests that name none; null: the provider's first"
    )
    voice_aliases: Mapping[VoiceName, VoiceName] = Field(
        default_factory=dict, description="names that clients use, and the voice or blend that each stands for"
    )
    max_characters: int = Field(default=65_536, ge=1, description="a longer text is refused")
    sentence_pause_s: float = Field(default=0.25, ge=0, le=5, description="silence between sentences, at speed 1")
