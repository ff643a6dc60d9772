"""What a client asks of a file of speech. Pure.

https://platform.openai.com/docs/api-reference/audio/createTranscription. Fields that are not known are passed over, as
OpenAI does; those that are known and cannot be honoured are refused by name.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NoReturn

from pydantic import JsonValue, ValidationError

from providers.asr.messages import TurnDetection
from providers.asr.recognizer import Asked
from providers.base import JsonObject
from providers.capabilities import Operation
from serve_app.audio.fields import Fields
from serve_app.audio.languages import language_code
from serve_app.errors import BadRequest

SHOWN_VALUE = 40
GRANULARITIES = "timestamp_granularities[]"
DETECT = "auto"
"""Other servers' word for no language; and OpenAI's for `chunking_strategy`."""


class Format(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"


DIARIZED = "diarized_json"


class ServerVad(TurnDetection):
    """`chunking_strategy` as an object."""

    type: Literal["server_vad"]


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """`words` and `segments` say what `verbose_json` lists. A streamed answer is events, whatever the format."""

    model: str | None
    asked: Asked
    turns: TurnDetection | None
    format: Format
    words: bool
    segments: bool
    streams: bool

    def checked_by_providers(self) -> JsonObject:
        """What `Route.translate` of speech recognition takes."""
        keywords: list[JsonValue] = list(self.asked.keywords)
        return {"language": self.asked.language, "word_times": self.words, "keywords": keywords}


def parsed(fields: Fields, operation: Operation) -> TranscriptionRequest:
    """Raises 400 for the first field that is wrong."""
    _refuse_unsupported(fields)
    format = _format(fields)
    words, segments = _granularities(fields, format)
    asked = Asked(
        translate=operation is Operation.TRANSLATION,
        language=_language(fields),
        prompt=fields.one("prompt") or "",
        keywords=fields.many("keywords"),
        temperature=_temperature(fields),
        word_times=words,
    )
    return TranscriptionRequest(fields.one("model"), asked, _turns(fields), format, words, segments, _streams(fields))


def _refuse_unsupported(fields: Fields) -> None:
    if fields.many("include"):
        raise BadRequest(400, "This server adds nothing by 'include[]'.", "unsupported_include", "include[]")
    for name in ("known_speaker_names", "known_speaker_references"):
        if fields.many(name):
            raise BadRequest(400, "No engine here tells speakers apart.", "unsupported_speakers", f"{name}[]")


def _format(fields: Fields) -> Format:
    name = fields.one("response_format") or Format.JSON
    if name == DIARIZED:
        message = f"No engine here tells speakers apart; 'response_format' can be {', '.join(Format)}."
        raise BadRequest(400, message, "unsupported_format", "response_format")
    try:
        return Format(name)
    except ValueError:
        _refuse("response_format", name, ", ".join(Format))


def _granularities(fields: Fields, format: Format) -> tuple[bool, bool]:
    """Whether words and whether segments are listed."""
    given = fields.many("timestamp_granularities")
    for one in given:
        if one not in ("word", "segment"):
            _refuse(GRANULARITIES, one, "word, segment")
    if given and format is not Format.VERBOSE_JSON:
        message = f"'{GRANULARITIES}' needs the response_format verbose_json."
        raise BadRequest(400, message, "invalid_value", GRANULARITIES)
    return "word" in given, not given or "segment" in given


def _language(fields: Fields) -> str | None:
    param, text = "language", fields.one("language")
    if text is None and (several := fields.many("languages")):
        if len(several) > 1:
            message = "Engines here understand one language at a time, or detect it: send one, or none."
            raise BadRequest(400, message, "unsupported_languages", "languages[]")
        param, text = "languages[]", several[0]
    if text is None or text.lower() == DETECT:
        return None
    code = language_code(text)
    if code is None:
        _refuse(param, text, "the ISO 639-1 code or the English name of a language that Whisper knows, such as 'en'")
    return code


def _temperature(fields: Fields) -> float | None:
    text = fields.one("temperature")
    if text is None:
        return None
    try:
        temperature = float(text)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        _refuse("temperature", text, "a number from 0 to 1")
    return temperature


def _streams(fields: Fields) -> bool:
    text = fields.one("stream") or "false"
    if text.lower() not in ("true", "false"):
        _refuse("stream", text, "true, false")
    return text.lower() == "true"


def _turns(fields: Fields) -> TurnDetection | None:
    """Clients write the object as JSON, or as fields of its own."""
    name = "chunking_strategy"
    text, nested = fields.one(name), fields.nested(name)
    if text == DETECT:
        return TurnDetection()
    if text is None and not nested:
        return None
    try:
        given = ServerVad.model_validate(nested if text is None else json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join((name, *(str(part)[:SHOWN_VALUE] for part in first["loc"])))
        raise BadRequest(400, f"Invalid value for '{param}': {first['msg']}.", "invalid_value", param) from error
    except (ValueError, RecursionError):
        _refuse(name, text or "", "'auto', or an object of type server_vad")
    return TurnDetection(**given.model_dump(exclude={"type"}))


def _refuse(param: str, value: str, allowed: str) -> NoReturn:
    message = f"Invalid value for '{param}': '{value[:SHOWN_VALUE]}'; allowed: {allowed}."
    raise BadRequest(400, message, "invalid_value", param)
