"""What a slot on Moonshine may configure beyond what every slot of speech recognition may."""

from typing import Literal

from pydantic import Field

from providers.asr.options import AsrOptions
from providers.native.options import NativeSlot

Language = Literal["ar", "de", "en", "es", "ja", "ko", "tl", "uk", "vi", "zh"]

LATIN = frozenset({"de", "en", "es", "tl"})
LATIN_TOKENS_PER_S, OTHER_TOKENS_PER_S = 6.5, 13.0
"""The most that a model says of a second of speech, as its makers advise: other scripts take more tokens a word."""


class MoonshineOptions(AsrOptions):
    language: Language = Field(default="en", description="what the model understands; each Moonshine model knows one")

    @property
    def tokens_per_s(self) -> float:
        return LATIN_TOKENS_PER_S if self.language in LATIN else OTHER_TOKENS_PER_S


class MoonshineSlot(NativeSlot):
    options: MoonshineOptions = MoonshineOptions()
