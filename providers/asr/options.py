"""What a slot of speech recognition may configure, whichever library recognizes."""

from typing import Literal

from pydantic import Field

from providers.native.options import NativeOptions
from providers.spec import ProviderOptions

VoiceDetectorKind = Literal["silero", "level"]


class HearingOptions(ProviderOptions):
    voice_detector: VoiceDetectorKind = Field(
        default="silero", description="how speech is told from silence: a small model, or loudness alone (a tiny CPU)"
    )
    partial_interval_s: float = Field(
        default=0.3, gt=0, le=60, description="live: new audio between two texts of an utterance that is still spoken"
    )


class AsrOptions(HearingOptions, NativeOptions):
    """Of an engine that is a library."""
