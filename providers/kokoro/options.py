"""What a slot on Kokoro may configure beyond what every slot of speech may."""

from collections.abc import Iterator

from pydantic import Field, model_validator

from providers.kokoro.names import VOICE_NAMES
from providers.native.options import NativeSlot
from providers.tts.blend import parsed
from providers.tts.options import TtsOptions, VoiceName


class KokoroOptions(TtsOptions):
    further_voices: tuple[VoiceName, ...] = Field(
        default=(), description="names of voices that the file of voices has beside those of Kokoro v1.0"
    )

    @property
    def voices(self) -> tuple[str, ...]:
        return (*VOICE_NAMES, *self.further_voices)

    @model_validator(mode="after")
    def _known(self) -> "KokoroOptions":
        for key, meant in self._meant():
            try:
                unknown = [name for name in parsed(meant) if name not in self.voices]
            except ValueError as error:
                raise ValueError(f"{key}: '{meant}' is no voice: {error}") from error
            if unknown:
                raise ValueError(
                    f"{key}: Kokoro has no voice '{unknown[0]}'; allowed: its own ({', '.join(VOICE_NAMES[:3])}, ...; "
                    "GET /v1/audio/voices lists all) and further_voices"
                )
        return self

    def _meant(self) -> Iterator[tuple[str, str]]:
        if self.default_voice is not None and self.default_voice not in self.voice_aliases:
            yield "default_voice", self.default_voice
        for alias, meant in self.voice_aliases.items():
            yield f"voice_aliases.{alias}", meant


class KokoroSlot(NativeSlot):
    options: KokoroOptions = KokoroOptions()
