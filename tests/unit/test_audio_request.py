"""What clients ask of a file of speech, and what they cannot ask."""

import json

import pytest

from providers.asr.messages import TurnDetection
from providers.asr.recognizer import Asked
from providers.capabilities import Operation
from serve_app.audio.fields import Fields
from serve_app.audio.languages import ENGLISH_NAMES, english_name, language_code
from serve_app.audio.request import Format, TranscriptionRequest, parsed
from serve_app.errors import BadRequest


def asked(*fields: tuple[str, str], operation: Operation = Operation.TRANSCRIPTION) -> TranscriptionRequest:
    return parsed(Fields(fields), operation)


def test_a_model_is_all_it_takes() -> None:
    assert asked(("model", "ears")) == TranscriptionRequest("ears", Asked(), None, Format.JSON, False, True, False)
    assert asked().model is None


def test_everything_at_once() -> None:
    request = asked(
        ("model", "ears"),
        ("language", "de"),
        ("prompt", "Namen: Müller"),
        ("response_format", "verbose_json"),
        ("temperature", "0.4"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("stream", "true"),
        ("chunking_strategy", "auto"),
        ("keywords[]", "Ray"),
        ("keywords[]", "hal0"),
        ("of_no_meaning", "here"),
    )
    wanted = Asked(language="de", prompt="Namen: Müller", keywords=("Ray", "hal0"), temperature=0.4, word_times=True)
    assert request == TranscriptionRequest("ears", wanted, TurnDetection(), Format.VERBOSE_JSON, True, True, True)
    assert request.checked_by_providers() == {"language": "de", "word_times": True, "keywords": ["Ray", "hal0"]}


def test_blank_fields_are_none() -> None:
    blank = [(name, " ") for name in ("language", "prompt", "response_format", "temperature", "stream", "include[]")]
    assert asked(("model", "ears"), *blank) == asked(("model", "ears"))


def test_a_translation_is_into_english() -> None:
    assert asked(("language", "fr"), operation=Operation.TRANSLATION).asked == Asked(translate=True, language="fr")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("zh-Hant-TW", "zh"),
        ("English", "en"),
        (" german ", "de"),
        ("Mandarin", "zh"),
        ("haitian creole", "ht"),
        ("yue", "yue"),
        ("nb-NO", "no"),
        ("auto", None),
    ],
)
def test_languages(text: str, code: str | None) -> None:
    assert asked(("language", text)).asked.language == code
    assert asked(("languages[]", text)).asked.language == code


def test_every_language_is_found_by_its_code_and_by_its_name() -> None:
    assert len(ENGLISH_NAMES) == 100
    for code, name in ENGLISH_NAMES.items():
        assert language_code(code) == language_code(name.title()) == code
        assert english_name(code) == name


@pytest.mark.parametrize(
    ("given", "words", "segments"),
    [((), False, True), (("word",), True, False), (("segment",), False, True), (("segment", "word"), True, True)],
)
@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities"])
def test_granularities(given: tuple[str, ...], words: bool, segments: bool, name: str) -> None:
    request = asked(("response_format", "verbose_json"), *[(name, one) for one in given])
    assert (request.words, request.asked.word_times, request.segments) == (words, words, segments)


VAD = {"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 200}


@pytest.mark.parametrize(
    "fields",
    [
        [("chunking_strategy", json.dumps(VAD))],
        [(f"chunking_strategy[{name}]", str(value)) for name, value in VAD.items()],
    ],
)
def test_turn_detection(fields: list[tuple[str, str]]) -> None:
    turns = asked(*fields).turns
    assert turns == TurnDetection(threshold=0.7, silence_duration_ms=200)
    assert type(turns) is TurnDetection


@pytest.mark.parametrize("text", ["true", "True", "false", "FALSE"])
def test_stream(text: str) -> None:
    assert asked(("stream", text)).streams is (text.lower() == "true")


@pytest.mark.parametrize(
    ("field", "code", "param"),
    [
        (("response_format", "xml"), "invalid_value", "response_format"),
        (("response_format", "diarized_json"), "unsupported_format", "response_format"),
        (("language", "klingon"), "invalid_value", "language"),
        (("language", "xx"), "invalid_value", "language"),
        (("languages[]", "xx"), "invalid_value", "languages[]"),
        (("temperature", "warm"), "invalid_value", "temperature"),
        (("temperature", "1.1"), "invalid_value", "temperature"),
        (("temperature", "-0.1"), "invalid_value", "temperature"),
        (("temperature", "nan"), "invalid_value", "temperature"),
        (("stream", "yes"), "invalid_value", "stream"),
        (("include[]", "logprobs"), "unsupported_include", "include[]"),
        (("known_speaker_names[]", "Ann"), "unsupported_speakers", "known_speaker_names[]"),
        (("known_speaker_references[]", "data:"), "unsupported_speakers", "known_speaker_references[]"),
        (("timestamp_granularities[]", "word"), "invalid_value", "timestamp_granularities[]"),
        (("timestamp_granularities[]", "letter"), "invalid_value", "timestamp_granularities[]"),
        (("chunking_strategy", "manual"), "invalid_value", "chunking_strategy"),
        (("chunking_strategy", "[" * 100_000), "invalid_value", "chunking_strategy"),
        (("chunking_strategy", "[]"), "invalid_value", "chunking_strategy"),
        (("chunking_strategy", "{}"), "invalid_value", "chunking_strategy.type"),
        (("chunking_strategy[type]", "semantic_vad"), "invalid_value", "chunking_strategy.type"),
        (
            ("chunking_strategy", '{"type": "server_vad", "threshold": 2}'),
            "invalid_value",
            "chunking_strategy.threshold",
        ),
        (("chunking_strategy", '{"type": "server_vad", "more": 2}'), "invalid_value", "chunking_strategy.more"),
    ],
)
@pytest.mark.parametrize("operation", [Operation.TRANSCRIPTION, Operation.TRANSLATION])
def test_each_error_names_its_field(field: tuple[str, str], code: str, param: str, operation: Operation) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(("model", "ears"), field, operation=operation)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, code, param)


def test_what_is_allowed_is_named() -> None:
    with pytest.raises(BadRequest, match="json, text, srt, verbose_json, vtt"):
        asked(("response_format", "diarized_json"))


def test_several_languages_are_more_than_an_engine_understands() -> None:
    with pytest.raises(BadRequest) as refused:
        asked(("languages[]", "de"), ("languages[]", "fr"))
    assert (refused.value.code, refused.value.param) == ("unsupported_languages", "languages[]")


@pytest.mark.parametrize("name", ["model", "language", "response_format", "temperature", "stream", "prompt"])
def test_a_field_given_twice_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked((name, "en"), (name, "en"))
    assert (refused.value.code, refused.value.param) == ("duplicate_field", name)
