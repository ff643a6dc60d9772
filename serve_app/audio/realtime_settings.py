"""What a realtime session is set to, and how that changes. Pure."""

from dataclasses import dataclass, replace

from pydantic import JsonValue, ValidationError

from providers.asr.messages import TurnDetection
from providers.base import JsonObject
from serve_app.audio.languages import language_code
from serve_app.audio.pcm import AudioFormat, Encoding
from serve_app.audio.realtime_parts import (
    BETA_FORMATS,
    BetaSessionPart,
    InputPart,
    SessionPart,
    TranscriptionPart,
    TurnPart,
    refusal,
)
from serve_app.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Settings:
    """`turns`: None leaves it to the client to say where utterances end."""

    format: AudioFormat = BETA_FORMATS["pcm16"]
    model: str | None = None
    language: str | None = None
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    turns: TurnDetection | None = TurnDetection()


def updated(settings: Settings, session: JsonValue) -> Settings:
    """As `session.update` wants it. Raises `BadRequest`."""
    try:
        given = SessionPart.model_validate(session).audio.input
    except ValidationError as error:
        raise refusal(error) from None
    if given.format is not None:
        settings = replace(settings, format=given.format.format)
    return _with_parts(settings, given, given.transcription, "session.audio.input.transcription")


def updated_as_beta(settings: Settings, session: JsonValue) -> Settings:
    """As `transcription_session.update` wants it. Raises `BadRequest`."""
    try:
        given = BetaSessionPart.model_validate(session)
    except ValidationError as error:
        raise refusal(error) from None
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
