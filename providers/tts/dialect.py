"""OpenAI's request for speech, checked and made one of `messages`. Pure.

https://platform.openai.com/docs/api-reference/audio/createSpeech. `instructions` is taken and ignored: no engine here
heeds any. The formats of the answer are the ingress's business.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from providers.base import JsonObject, Route, Translation
from providers.capabilities import Operation
from providers.errors import InvalidRequest
from providers.native.errors import engine_error
from providers.spec import SlotSpec
from providers.tts.blend import LONGEST_NAME, Shares, expanded, parsed
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.tts.sentences import speakable
from providers.voices import Voice

SPEEDS = (0.25, 4.0)
SHOWN = 80
LISTED = 8
LONGEST_BLEND = 4000
LANGUAGE = re.compile(r"[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8}){0,3}")
"""A language tag, near enough: https://www.rfc-editor.org/info/bcp47"""


@dataclass(frozen=True, slots=True)
class VoiceBook:
    """The voices of a slot by id. None: any name may be one, and the engine checks it.

    `default`: of requests that name none, where the slot configures none. `clones`: a name that is not among `voices`
    is that of a voice which a client has brought. It is taken as it is: such voices cannot be mixed.
    """

    voices: Mapping[str, Voice] | None
    default: str | None = None
    clones: bool = False

    def brought(self, name: str) -> bool:
        """Whether this is the name of a voice that a client has brought."""
        return self.clones and name not in (self.voices or {})


@dataclass(frozen=True, slots=True)
class SpeechRoute(Route):
    """`translate` makes a `messages.SpeechRequest` of OpenAI's. A voice that a client has brought is still in its
    `blend`, for the ingress to replace by a `reference`."""

    book: Callable[[SlotSpec], VoiceBook] = lambda _: VoiceBook(None)


def speech_route(book: Callable[[SlotSpec], VoiceBook]) -> Callable[[Operation], SpeechRoute | None]:
    """A provider's `infer`, for slots whose options are `TtsOptions`."""

    def translate(request: JsonObject, slot: SlotSpec) -> Translation:
        assert isinstance(slot.options, TtsOptions)
        return Translation(request=_translated(request, slot.options, book(slot)))

    answer = SpeechRoute(SPEECH_PATH, engine_error, translate=translate, book=book)
    return lambda operation: answer if operation is Operation.SPEECH else None


def _translated(request: JsonObject, options: TtsOptions, book: VoiceBook) -> JsonObject:
    text = _text(request, options.max_characters)
    shares = _shares(_voice(request) or options.default_voice or book.default, options.voice_aliases, book)
    _string(request, "instructions")
    return {
        "text": text,
        "blend": [{"voice": voice, "weight": weight} for voice, weight in shares.items()],
        "speed": _speed(request),
        "language": _language(request),
    }


def _text(request: JsonObject, limit: int) -> str:
    text = _string(request, "input")
    if text is None:
        raise InvalidRequest("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if len(text) > limit:
        message = f"The text has {len(text)} characters; the slot's max_characters is {limit}. Send it in parts."
        raise InvalidRequest(message, "input", "input_too_long")
    if not speakable(text):
        found = "nothing that can be spoken" if text.strip() else "no text"
        raise InvalidRequest(f"There is {found} in 'input': it needs a letter or a digit.", "input", "empty_input")
    return text


def _voice(request: JsonObject) -> str | None:
    """None: none is named. https://platform.openai.com/docs/api-reference/audio/createSpeech#audio_createspeech-voice"""
    param, voice = "voice", request.get("voice")
    if isinstance(voice, dict):
        param, voice = "voice.id", voice.get("id")
        if voice is None:
            raise InvalidRequest("An object for 'voice' is {\"id\": ...}.", param, "missing_required_parameter")
    if voice is None:
        return None
    if not isinstance(voice, str):
        raise _wrong_type(param, "a string" if param == "voice.id" else "a string or an object")
    if not voice.strip():
        raise InvalidRequest(f"The '{param}' is empty; leave it out for the slot's own.", param, "invalid_value")
    return voice.strip()


def _shares(given: str | None, aliases: Mapping[str, str], book: VoiceBook) -> Shares:
    if given is None:
        message = "Missing required parameter: 'voice'. The slot has no default_voice."
        raise InvalidRequest(message, "voice", "missing_required_parameter")
    whole = aliases.get(given, given)
    if book.voices is not None and whole in book.voices:
        return {whole: 1.0}
    if book.clones and len(whole) <= LONGEST_NAME:
        return {whole: 1.0}
    try:
        if len(whole) > LONGEST_BLEND:
            raise ValueError(f"it is longer than {LONGEST_BLEND} characters")
        # An alias that stands for a blend may be a part of one, but not of what another alias stands for.
        shares = parsed(whole) if given in aliases else expanded(parsed(whole), lambda name: _meant(name, aliases))
    except ValueError as error:
        raise InvalidRequest(f"Invalid 'voice': '{whole[:SHOWN]}': {error}.", "voice", "invalid_value") from error
    for name in shares:
        if book.voices is not None and name not in book.voices:
            raise unknown_voice(name, (*book.voices, *aliases))
    return shares


def _meant(name: str, aliases: Mapping[str, str]) -> Shares:
    return parsed(aliases[name]) if name in aliases else {name: 1.0}


def unknown_voice(name: str, known: tuple[str, ...]) -> InvalidRequest:
    """With those of `known` that are like it, or else the first of them."""
    near = get_close_matches(name[:SHOWN], known, n=LISTED, cutoff=0.6)
    listed = ", ".join(near or known[:LISTED])
    advice = f"Did you mean: {listed}?" if near else f"Voices are: {listed}{', ...' if len(known) > LISTED else ''}."
    if not known:
        advice = "There are none yet; POST /v1/audio/voices adds one."
    message = f"The voice '{name[:SHOWN]}' does not exist. {advice} GET /v1/audio/voices lists all."
    return InvalidRequest(message, "voice", "unknown_voice")


def _speed(request: JsonObject) -> float:
    speed = request.get("speed")
    if speed is None:
        return 1.0
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise _wrong_type("speed", "a number")
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise InvalidRequest(f"'speed' is from {SPEEDS[0]:g} to {SPEEDS[1]:g}.", "speed", "invalid_value")
    return float(speed)


def _language(request: JsonObject) -> str | None:
    """OpenAI's request has none; clients of other servers send it under either name."""
    for param in ("language", "lang_code"):
        text = _string(request, param)
        if not text:
            continue
        if LANGUAGE.fullmatch(text) is None:
            message = f"Invalid '{param}': '{text[:SHOWN]}'; allowed: a language tag such as 'en' or 'pt-BR'."
            raise InvalidRequest(message, param, "invalid_value")
        return text.replace("_", "-")
    return None


def _string(request: JsonObject, param: str) -> str | None:
    value = request.get(param)
    if value is None or isinstance(value, str):
        return value
    raise _wrong_type(param, "a string")


def _wrong_type(param: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid type for '{param}': expected {wanted}.", param, "invalid_type")
