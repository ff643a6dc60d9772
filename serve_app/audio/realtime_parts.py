"""How a client writes the settings of a realtime session, in OpenAI's dialect and in that of its beta. Pure.

What is not known, or cannot be done here, is refused by the name of its field: a client that believes to have set
something must not be wrong. https://platform.openai.com/docs/api-reference/realtime-client-events/session/update
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from providers.asr.messages import TurnDetection
from providers.spec import Frozen
from serve_app.audio.pcm import G711_RATE, PCM_RATES, AudioFormat, Encoding
from serve_app.errors import BadRequest

BETA_FORMATS: Mapping[str, AudioFormat] = {
    "pcm16": AudioFormat(Encoding.PCM, 24_000),
    "g711_ulaw": AudioFormat(Encoding.ULAW, G711_RATE),
    "g711_alaw": AudioFormat(Encoding.ALAW, G711_RATE),
}
LONGEST_PROMPT, LONGEST_KEYWORD = 8192, 256
"""Characters: all that an engine is asked fits into one message to it."""
SHOWN_PARAM = 200


class Part(Frozen):
    """Of a client's event."""

    model_config = ConfigDict(strict=True)


class FormatPart(Part):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | None = None

    @model_validator(mode="after")
    def _has_the_rate(self) -> "FormatPart":
        rates = PCM_RATES if Encoding(self.type) is Encoding.PCM else (G711_RATE,)
        if self.rate is not None and self.rate not in rates:
            raise ValueError(f"the rate of {self.type} is one of {', '.join(map(str, rates))}")
        return self

    @property
    def format(self) -> AudioFormat:
        encoding = Encoding(self.type)
        return AudioFormat(encoding, self.rate or (24_000 if encoding is Encoding.PCM else G711_RATE))


class TranscriptionPart(Part):
    model: str | None = Field(default=None, min_length=1)
    language: str | None = None
    languages: list[str] | None = Field(default=None, max_length=1)
    prompt: str | None = Field(default=None, max_length=LONGEST_PROMPT)
    keywords: list[Annotated[str, Field(max_length=LONGEST_KEYWORD)]] | None = Field(default=None, max_length=256)
    delay: None = None


class TurnPart(TurnDetection):
    """`create_response` and its like are about answers, which a transcription has not: only their absence is true."""

    model_config = ConfigDict(strict=True)
    type: Literal["server_vad"]
    create_response: Literal[False] | None = None
    interrupt_response: Literal[False] | None = None
    idle_timeout_ms: None = None


class InputPart(Part):
    format: FormatPart | None = None
    transcription: TranscriptionPart | None = None
    turn_detection: TurnPart | None = None
    noise_reduction: None = None


class AudioPart(Part):
    input: InputPart = InputPart()


class SessionPart(Part):
    type: Literal["transcription"]
    audio: AudioPart = AudioPart()
    include: list[str] | None = Field(default=None, max_length=0)


class BetaSessionPart(Part):
    """Of OpenAI's beta API: https://platform.openai.com/docs/guides/realtime-transcription"""

    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | None = None
    input_audio_transcription: TranscriptionPart | None = None
    turn_detection: TurnPart | None = None
    input_audio_noise_reduction: None = None
    include: list[str] | None = Field(default=None, max_length=0)


def refusal(error: ValidationError) -> BadRequest:
    """By the first field that is wrong."""
    first = error.errors(include_url=False)[0]
    param = dotted(("session", *first["loc"]))[:SHOWN_PARAM]
    if first["type"] == "extra_forbidden":
        return BadRequest(400, f"Unknown parameter: '{param}'.", "unknown_parameter", param)
    if first["type"] == "missing":
        return BadRequest(400, f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
    return BadRequest(400, f"Invalid value for '{param}': {_reason(first)}.", "invalid_value", param)


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "none_required":
            return "this server does not have that; allowed: null"
        case "too_long":
            most = error["ctx"]["max_length"]
            return f"this server takes at most {most}" if most else "this server knows nothing to add"
        case "model_type" | "model_attributes_type":
            return "an object is expected"
        case _:
            return error["msg"].removeprefix("Value error, ")


def dotted(path: Sequence[str | int]) -> str:
    """A field's place as OpenAI writes it: `a.b[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
