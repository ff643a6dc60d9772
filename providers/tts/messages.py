"""The seam between the ingress and an engine that speaks: one HTTP request for each text.

`POST paths.SPEECH_PATH` with a `SpeechRequest` as JSON and the engine's token as a bearer token. The answer is 200 once
the first sentence has been computed: `CONTENT_TYPE`, `RATE_HEADER` with the rate in Hz, and a chunked body of signed
16-bit little-endian samples, mono, sent sentence by sentence while the next one is being computed. Whoever reads slowly
holds the engine back. What goes wrong before that is a status with `{"error": {"message", "code", "param"}}`; what goes
wrong after it breaks the connection, so that the body does not look whole.
"""

from base64 import b64decode, b64encode

from pydantic import Field

from providers.spec import Frozen
from providers.tts.synthesizer import Manner, Reference, Share

RATE_HEADER = "X-Sample-Rate"
CONTENT_TYPE = "audio/pcm"


class VoiceShare(Frozen):
    voice: str = Field(min_length=1, max_length=200)
    weight: float = Field(gt=0, le=1)


class VoiceReference(Frozen):
    pcm: str = Field(description="base64")
    rate: int = Field(ge=8000, le=192_000)
    text: str


class SpeechRequest(Frozen):
    """`blend` or `reference` is given."""

    text: str = Field(min_length=1)
    blend: tuple[VoiceShare, ...] = ()
    reference: VoiceReference | None = None
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    language: str | None = None

    @classmethod
    def of(cls, text: str, manner: Manner) -> "SpeechRequest":
        told = manner.reference
        return cls(
            text=text,
            blend=tuple(VoiceShare(voice=share.voice, weight=share.weight) for share in manner.blend),
            reference=None
            if told is None
            else VoiceReference(pcm=b64encode(told.pcm).decode(), rate=told.rate, text=told.text),
            speed=manner.speed,
            language=manner.language,
        )

    @property
    def manner(self) -> Manner:
        """Raises ValueError for a reference that is no base64."""
        told = self.reference
        return Manner(
            blend=tuple(Share(share.voice, share.weight) for share in self.blend),
            reference=None if told is None else Reference(b64decode(told.pcm, validate=True), told.rate, told.text),
            speed=self.speed,
            language=self.language,
        )
