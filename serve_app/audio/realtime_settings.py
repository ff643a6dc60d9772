"""What a realtime session is set to, and how a client changes it. Pure.

https://platform.openai.com/docs/api-reference/realtime-client-events/session/update. What is not known, or cannot be
done here, is refused by the name of its field: a client that believes to have set something must not be wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from providers.asr.messages import TurnDetection
from providers.base import JsonObject
from providers.spec import Frozen
from serve_app.audio.languages import language_code
from serve_app.audio.pcm import G711_RATE, PCM_RATES, AudioFormat, Encoding
from serve_app.errors import BadRequest

BETA_FORMATS: Mapping[str, AudioFormat] = {
    "pcm16": AudioFormat(Encoding.PCM, 24_000),
    "g711_ulaw": AudioFormat(Encoding.ULAW, G711_RATE),
    "g711_alaw": AudioFormat(Encoding.ALAW, G711_RATE),
}
SHOWN_PARAM = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """`turns`: None leaves it to the client to say where utterances end."""

    format: AudioFormat = BETA_FORMATS["pcm16"]
    model: str | None = None
    language: str | None = None
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    turns: TurnDetection | None = TurnDetection()


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
    prompt: str | None = None
    keywords: list[str] | None = None
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


def updated(settings: Settings, session: JsonValue) -> Settings:
    """As `session.update` wants it. Raises `BadRequest`."""
    try:
        given = SessionPart.model_validate(session).audio.input
    except ValidationError as error:
        raise _refusal(error) from None
    if given.format is not None:
        settings = replace(settings, format=given.format.format)
    return _with_parts(settings, given, given.transcription, "session.audio.input.transcription")


def updated_as_beta(settings: Settings, session: JsonValue) -> Settings:
    """As `transcription_session.update` wants it. Raises `BadRequest`."""
    try:
        given = BetaSessionPart.model_validate(session)
    except ValidationError as error:
        raise _refusal(error) from None
    if given.input_audio_format is not None:
        settings = replace(settings, format=BETA_FORMATS[given.input_audio_format])
    return _with_parts(settings, given, given.input_audio_transcription, "session.input_audio_transcription")


def _with_parts(
    settings: Settings, given: InputPart | BetaSessionPart, asked: TranscriptionPart | None, path: str
) -> Settings:
    """Fields that an event does not name stay as they are; null means what a session begins with, or off."""
    if "turn_detection" in given.model_fields_set:
        settings = replace(settings, turns=_turns(settings.turns, given.turn_detection))
    if {"transcription", "input_audio_transcription"} & given.model_fields_set:
        settings = _asked(settings, asked, path)
    return settings


def _turns(before: TurnDetection | None, given: TurnPart | None) -> TurnDetection | None:
    if given is None:
        return None
    named = given.model_fields_set & TurnDetection.model_fields.keys()
    return (before or TurnDetection()).model_copy(update={name: getattr(given, name) for name in named})


def _asked(settings: Settings, given: TranscriptionPart | None, path: str) -> Settings:
    if given is None:
        return replace(settings, model=None, language=None, prompt="", keywords=())
    named = given.model_fields_set
    if "model" in named:
        settings = replace(settings, model=given.model)
    if "languages" in named:
        settings = replace(settings, language=_language(next(iter(given.languages or ()), None), f"{path}.languages"))
    if "language" in named:
        settings = replace(settings, language=_language(given.language, f"{path}.language"))
    if "prompt" in named:
        settings = replace(settings, prompt=given.prompt or "")
    if "keywords" in named:
        settings = replace(settings, keywords=tuple(given.keywords or ()))
    return settings


def _language(text: str | None, param: str) -> str | None:
    """Its ISO 639-1 code; an empty one is none, as in OpenAI's own examples."""
    if not text:
        return None
    code = language_code(text)
    if code is None:
        raise BadRequest(400, f"'{text[:40]}' is no language; known are codes such as 'en'.", "invalid_value", param)
    return code


def _refusal(error: ValidationError) -> BadRequest:
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
            return f"this server takes at most {error['ctx']['max_length']}"
        case "model_type" | "model_attributes_type":
            return "an object is expected"
        case _:
            return error["msg"].removeprefix("Value error, ")


def dotted(path: Sequence[str | int]) -> str:
    """A field's place as OpenAI writes it: `a.b[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def as_session(settings: Settings, session_id: str, expires_at: int) -> JsonObject:
    """What `session.created` and `session.updated` show. `expires_at` in Unix seconds."""
    source: JsonObject = {"type": settings.format.encoding.value}
    if settings.format.encoding is Encoding.PCM:
        source["rate"] = settings.format.rate
    given: JsonObject = {
        "format": source,
        "transcription": _transcription(settings),
        "noise_reduction": None,
        "turn_detection": _turn_detection(settings),
    }
    return {
        "type": "transcription",
        "id": session_id,
        "object": "realtime.transcription_session",
        "expires_at": expires_at,
        "audio": {"input": given},
        "include": None,
    }


def as_beta_session(settings: Settings, session_id: str, expires_at: int) -> JsonObject:
    """What `transcription_session.updated` shows."""
    named = [name for name, source in BETA_FORMATS.items() if source == settings.format]
    return {
        "id": session_id,
        "object": "realtime.transcription_session",
        "expires_at": expires_at,
        "input_audio_format": named[0] if named else settings.format.encoding.value,
        "input_audio_transcription": _transcription(settings),
        "input_audio_noise_reduction": None,
        "turn_detection": _turn_detection(settings),
        "include": None,
    }


def _transcription(settings: Settings) -> JsonObject:
    shown: JsonObject = {"model": settings.model, "language": settings.language, "prompt": settings.prompt}
    return shown | ({"keywords": list(settings.keywords)} if settings.keywords else {})


def _turn_detection(settings: Settings) -> JsonObject | None:
    return None if settings.turns is None else {"type": "server_vad", **settings.turns.model_dump()}
