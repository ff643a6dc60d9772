from collections.abc import Mapping
from typing import Any

import pytest

from providers.base import JsonObject
from providers.capabilities import Capability, Operation
from providers.errors import InvalidRequest
from providers.spec import SlotSpec
from providers.tts.dialect import VoiceBook, speech_route
from providers.tts.messages import SpeechRequest
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.voices import Voice

VOICES = {name: Voice(name, name) for name in ("af_bella", "af_sky", "am_adam", "a+b")}
BOOK = VoiceBook(VOICES, default="am_adam")


def slot(**options: Any) -> SlotSpec:
    spec = SlotSpec(name="s", provider="p", model="m", capabilities=(Capability.SPEECH,))
    return spec.model_copy(update={"options": TtsOptions(**options)})


def asked(request: Mapping[str, Any], book: VoiceBook = BOOK, **options: Any) -> SpeechRequest:
    route = speech_route(lambda _: book)(Operation.SPEECH)
    assert route is not None and route.translate is not None
    given: JsonObject = {"model": "s", "input": "Hello.", **request}
    return SpeechRequest.model_validate(route.translate(given, slot(**options)).request)


def shares(request: SpeechRequest) -> dict[str, float]:
    return {share.voice: share.weight for share in request.blend}


def voices(given: object, book: VoiceBook = BOOK, **options: Any) -> dict[str, float]:
    return shares(asked({"voice": given}, book, **options))


def refused(request: Mapping[str, Any], book: VoiceBook = BOOK, **options: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(request, book, **options)
    return caught.value


def test_only_speech_is_offered() -> None:
    infer = speech_route(lambda _: BOOK)
    assert [one for one in Operation if infer(one)] == [Operation.SPEECH]
    route = infer(Operation.SPEECH)
    assert route is not None and route.path == SPEECH_PATH and route.book(slot()) is BOOK


def test_what_is_asked_is_passed_on() -> None:
    request = asked({"voice": "af_sky", "speed": 2, "lang_code": "en_GB", "instructions": "Whisper.", "user": 7})
    assert request == SpeechRequest.model_validate(
        {"text": "Hello.", "blend": [{"voice": "af_sky", "weight": 1}], "speed": 2.0, "language": "en-GB"}
    )


def test_null_is_as_good_as_nothing() -> None:
    fields = ("voice", "speed", "language", "lang_code", "instructions", "response_format", "stream_format")
    assert asked(dict.fromkeys(fields)) == asked({})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("af_sky", {"af_sky": 1}),
        ({"id": "af_sky"}, {"af_sky": 1}),
        (" af_sky ", {"af_sky": 1}),
        ("af_bella(2)+af_sky(1)", {"af_bella": 2 / 3, "af_sky": 1 / 3}),
        ("a+b", {"a+b": 1}),
        ("alloy", {"af_sky": 1}),
        ("warm", {"af_bella": 0.75, "am_adam": 0.25}),
        ("warm + alloy", {"af_bella": 0.375, "am_adam": 0.125, "af_sky": 0.5}),
        (None, {"am_adam": 1}),
    ],
)
def test_voices_as_clients_name_them(given: object, expected: dict[str, float]) -> None:
    aliases = {"alloy": "af_sky", "warm": "af_bella(3)+am_adam"}
    assert voices(given, voice_aliases=aliases) == pytest.approx(expected)


def test_aliases_come_first_and_whole_names_before_blends() -> None:
    assert voices("af_sky", voice_aliases={"af_sky": "am_adam"}) == {"am_adam": 1}
    assert voices("x", voice_aliases={"x": "a+b"}) == {"a+b": 1}


def test_the_slot_names_the_voice_of_those_who_name_none() -> None:
    assert voices(None, default_voice="nova", voice_aliases={"nova": "af_sky"}) == {"af_sky": 1}
    error = refused({}, VoiceBook(VOICES))
    assert (error.param, error.code) == ("voice", "missing_required_parameter")


def test_an_engine_that_knows_its_voices_itself_is_asked() -> None:
    assert voices("whoever(3)+other", VoiceBook(None)) == pytest.approx({"whoever": 0.75, "other": 0.25})


def test_a_brought_voice_is_taken_as_it_is_named() -> None:
    book = VoiceBook(None, clones=True)
    assert voices("Ann + Bob (2)", book) == {"Ann + Bob (2)": 1}
    assert voices("alloy", book, voice_aliases={"alloy": "Ann"}) == {"Ann": 1}
    assert book.brought("Ann")
    assert not VoiceBook(VOICES, clones=True).brought("af_sky")
    assert not BOOK.brought("Ann")


def test_an_unknown_voice_is_answered_with_those_like_it() -> None:
    error = refused({"voice": "af_bela"})
    assert (error.param, error.code) == ("voice", "unknown_voice")
    assert "Did you mean: af_bella" in error.message
    assert "Voices are: af_bella, af_sky" in refused({"voice": "qqqq"}).message
    assert "'nobody'" in refused({"voice": "af_sky+nobody"}).message
    assert "alloy" in refused({"voice": "aloy"}, voice_aliases={"alloy": "af_sky"}).message


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": 7}, "input", "invalid_type"),
        ({"input": ["a"]}, "input", "invalid_type"),
        ({"input": ""}, "input", "empty_input"),
        ({"input": " \n\t"}, "input", "empty_input"),
        ({"input": "...!?"}, "input", "empty_input"),
        ({"input": "\x00\x1b\u200b"}, "input", "empty_input"),
        ({"input": "🎉🎉"}, "input", "empty_input"),
        ({"input": "a" * 11}, "input", "input_too_long"),
        ({"voice": 7}, "voice", "invalid_type"),
        ({"voice": ["af_sky"]}, "voice", "invalid_type"),
        ({"voice": {}}, "voice.id", "missing_required_parameter"),
        ({"voice": {"id": 1}}, "voice.id", "invalid_type"),
        ({"voice": " "}, "voice", "invalid_value"),
        ({"voice": "af_sky(0)"}, "voice", "invalid_value"),
        ({"voice": "x" * 5000}, "voice", "invalid_value"),
        ({"speed": "1"}, "speed", "invalid_type"),
        ({"speed": True}, "speed", "invalid_type"),
        ({"speed": 0.2}, "speed", "invalid_value"),
        ({"speed": 10**5000}, "speed", "invalid_value"),
        ({"speed": float("nan")}, "speed", "invalid_value"),
        ({"language": 1}, "language", "invalid_type"),
        ({"language": "../x"}, "language", "invalid_value"),
        ({"lang_code": "e n"}, "lang_code", "invalid_value"),
        ({"instructions": {}}, "instructions", "invalid_type"),
    ],
)
def test_what_is_wrong_is_named(request_: JsonObject, param: str, code: str) -> None:
    error = refused(request_, max_characters=10)
    assert (error.param, error.code) == (param, code)
    assert len(error.message) < 400


@pytest.mark.parametrize("text", ["7", "é", "你好", "नमस्ते", "🎉 yes"])
def test_what_can_be_spoken(text: str) -> None:
    assert asked({"input": text}).text == text
