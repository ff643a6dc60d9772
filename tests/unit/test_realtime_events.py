"""Texts that only grow, items that follow each other, and settings as a client changes them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.messages import Cleared, Committed, Done, Failed, Final, Partial, SpeechStarted, TurnDetection
from providers.asr.recognizer import Segment
from serve_app.audio.live_conversation import LONGEST_PAUSE_S, pause_s
from serve_app.audio.pcm import AudioFormat, Encoding
from serve_app.audio.realtime_client import READERS, Append, event_of, fields_of
from serve_app.audio.realtime_items import Items
from serve_app.audio.realtime_settings import Settings, as_beta_session, as_session, updated, updated_as_beta
from serve_app.audio.realtime_transcript import GrowingText
from serve_app.errors import Answer, BadRequest

TEXTS = st.text(alphabet="ab .語あ", max_size=12)


def segments(*texts: str) -> tuple[Segment, ...]:
    return tuple(Segment(text, 0, 1) for text in texts)


# Growing texts.


@pytest.mark.parametrize(
    ("guesses", "final", "sent"),
    [
        (["hello", "hello world", "hello world how"], "hello world how", ["", "hello", " world", " how"]),
        (["hello word", "hello world"], "hello world", ["", "hello", " world"]),
        (["a b", "a b", "a c", "a c d"], "a b d", ["", "a b", "", "", " d"]),
        (["a b", "a b"], "x", ["", "a b", ""]),
        ([], "all at once", ["all at once"]),
        (["今日は", "今日は晴", "今日は晴れ"], "今日は晴れです", ["", "今日は", "晴", "れです"]),
        ([" spaced", " spaced out"], "spaced out", ["", "spaced", " out"]),
        (["", ""], "", ["", "", ""]),
    ],
)
def test_only_what_two_guesses_agree_on_is_sent(guesses: list[str], final: str, sent: list[str]) -> None:
    text = GrowingText()
    assert [*(text.guess(guess) for guess in guesses), text.end(final)] == sent


@given(st.lists(TEXTS, max_size=8), TEXTS)
def test_what_is_sent_is_never_taken_back(guesses: list[str], final: str) -> None:
    text = GrowingText()
    so_far = ""
    for guess in guesses:
        so_far += text.guess(guess)
    more = text.end(final)
    assert so_far + more == final if final.startswith(so_far) else more == ""


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_guess_that_stays_is_sent_whole(guesses: list[str]) -> None:
    text = GrowingText()
    sent = "".join(text.guess(guess) for guess in [guesses[0]] * 3)
    assert sent == guesses[0].strip()


# Items.


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].split(".", 1)[1] for event in events]


def test_an_item_is_known_by_its_first_event() -> None:
    items = Items()
    [delta] = items.heard(Partial(utterance=0, text="one")) + items.heard(Partial(utterance=0, text="one two"))
    committed, added, done = items.heard(Committed(utterance=0, start_s=0, end_s=1.25))
    assert delta["item_id"] == committed["item_id"] == added["item"]["id"] == done["item"]["id"]  # type: ignore[index, call-overload]
    assert items.committed
    more, completed = items.heard(Final(utterance=0, segments=segments("one two")))
    assert (delta["delta"], more["delta"], completed["transcript"]) == ("one", " two", "one two")
    assert completed["usage"] == {"type": "duration", "seconds": 1.25}
    assert not items.committed


def test_an_utterance_without_words_is_completed_without_any() -> None:
    items = Items()
    items.heard(Committed(utterance=0, start_s=0, end_s=1))
    [completed] = items.heard(Final(utterance=0, segments=()))
    assert completed["transcript"] == ""


@pytest.mark.parametrize(
    ("language", "whole"), [("ja", "一つ。二つ。"), ("en", "一つ。 二つ。"), (None, "一つ。 二つ。")]
)
def test_segments_are_joined_as_their_language_does(language: str | None, whole: str) -> None:
    items = Items()
    items.heard(Committed(utterance=0, start_s=0, end_s=1))
    found = tuple(Segment(text, 0, 1, language=language) for text in ("一つ。", "二つ。"))
    delta, completed = items.heard(Final(utterance=0, segments=found))
    assert (delta["delta"], completed["transcript"]) == (whole, whole)


def test_an_utterance_that_another_engine_hears_anew_is_one_item() -> None:
    items = Items()
    items.heard(SpeechStarted(utterance=4, at_s=1))
    items.heard(Partial(utterance=4, text="one two"))
    [before] = items.heard(Partial(utterance=4, text="one two"))
    items.begin_session(1.0)
    assert items.heard(SpeechStarted(utterance=0, at_s=0)) == []
    committed = items.heard(Committed(utterance=0, start_s=0, end_s=2))[0]
    after, _ = items.heard(Final(utterance=0, segments=segments("one two three")))
    assert (before["delta"], after["delta"]) == ("one two", " three")
    assert before["item_id"] == committed["item_id"] == after["item_id"]


def test_a_clear_forgets_what_is_not_committed() -> None:
    items = Items()
    items.heard(Committed(utterance=0, start_s=0, end_s=1))
    items.heard(SpeechStarted(utterance=1, at_s=1))
    assert kinds(items.heard(Cleared())) == ["cleared"]
    failed = items.fail_all(Answer(502, "gone", "server_error", "engine_died"))
    assert len(failed) == 1


def test_items_of_a_new_engine_follow_those_of_the_old() -> None:
    items = Items()
    first = items.heard(Committed(utterance=0, start_s=0, end_s=1))[0]
    items.begin_session(10.0)
    [started] = items.heard(SpeechStarted(utterance=0, at_s=0.5))
    second = items.heard(Committed(utterance=0, start_s=0.5, end_s=1))[0]
    assert started["audio_start_ms"] == 10_500
    assert second["item_id"] != first["item_id"] and second["previous_item_id"] == first["item_id"]


def test_a_failure_is_told_in_the_terms_of_its_status() -> None:
    items = Items()
    [failed] = items.heard(Failed(utterance=3, message="no", status=400, code="c", param="p"))
    assert failed["error"] == {"type": "invalid_request_error", "code": "c", "message": "no", "param": "p"}


def test_a_live_session_has_no_end_of_a_file() -> None:
    with pytest.raises(AssertionError):
        Items().heard(Done(duration_s=1))


# Settings.


def change(**audio_input: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": audio_input}}


def test_what_an_update_does_not_name_stays() -> None:
    settings = Settings()
    for part in (
        {"transcription": {"model": "m", "language": "EN_us", "keywords": ["hal"]}},
        {"transcription": {"prompt": "p"}, "turn_detection": {"type": "server_vad", "threshold": 0.7}},
        {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}},
        {"format": {"type": "audio/pcmu"}, "noise_reduction": None},
        {},
    ):
        settings = updated(settings, change(**part))
    turns = TurnDetection(threshold=0.7, silence_duration_ms=200)
    assert settings == Settings(AudioFormat(Encoding.ULAW, 8000), "m", "en", "p", ("hal",), turns)


def test_null_is_what_a_session_begins_with_or_off() -> None:
    settings = updated(Settings(), change(transcription={"language": "en", "prompt": "p"}))
    assert updated(settings, change(transcription=None)) == Settings()
    assert updated(settings, change(transcription={"language": None, "prompt": None})) == Settings()
    off = updated(settings, change(turn_detection=None))
    assert off.turns is None
    assert updated(off, change(turn_detection={"type": "server_vad"})).turns == TurnDetection()


INPUT = "session.audio.input"
REFUSED: list[tuple[Any, str, str]] = [
    (None, "invalid_value", "session"),
    ([], "invalid_value", "session"),
    ({}, "missing_required_parameter", "session.type"),
    ({"type": "realtime"}, "invalid_value", "session.type"),
    ({"type": "transcription", "model": "m"}, "unknown_parameter", "session.model"),
    ({"type": "transcription", "audio": {"output": {}}}, "unknown_parameter", "session.audio.output"),
    ({"type": "transcription", "audio": None}, "invalid_value", "session.audio"),
    (
        {"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]},
        "invalid_value",
        "session.include",
    ),
    (change(volume=1), "unknown_parameter", f"{INPUT}.volume"),
    (change(noise_reduction={"type": "near_field"}), "invalid_value", f"{INPUT}.noise_reduction"),
    (change(format={"type": "audio/mp3"}), "invalid_value", f"{INPUT}.format.type"),
    (change(format={"rate": 24000}), "missing_required_parameter", f"{INPUT}.format.type"),
    (change(format={"type": "audio/pcm", "rate": 44100}), "invalid_value", f"{INPUT}.format"),
    (change(format={"type": "audio/pcmu", "rate": 16000}), "invalid_value", f"{INPUT}.format"),
    (change(transcription={"model": ""}), "invalid_value", f"{INPUT}.transcription.model"),
    (change(transcription={"model": 1}), "invalid_value", f"{INPUT}.transcription.model"),
    (change(transcription={"delay": "low"}), "invalid_value", f"{INPUT}.transcription.delay"),
    (change(transcription={"languages": ["en", "de"]}), "invalid_value", f"{INPUT}.transcription.languages"),
    (change(transcription={"language": "not a code"}), "invalid_value", f"{INPUT}.transcription.language"),
    (change(transcription={"prompt": "x" * 8193}), "invalid_value", f"{INPUT}.transcription.prompt"),
    (change(transcription={"keywords": ["k"] * 257}), "invalid_value", f"{INPUT}.transcription.keywords"),
    (change(transcription={"keywords": [1]}), "invalid_value", f"{INPUT}.transcription.keywords[0]"),
    (change(turn_detection={"type": "semantic_vad"}), "invalid_value", f"{INPUT}.turn_detection.type"),
    (
        change(turn_detection={"type": "server_vad", "threshold": 2}),
        "invalid_value",
        f"{INPUT}.turn_detection.threshold",
    ),
    (
        change(turn_detection={"type": "server_vad", "threshold": "0.5"}),
        "invalid_value",
        f"{INPUT}.turn_detection.threshold",
    ),
    (
        change(turn_detection={"type": "server_vad", "create_response": True}),
        "invalid_value",
        f"{INPUT}.turn_detection.create_response",
    ),
    (
        change(turn_detection={"type": "server_vad", "idle_timeout_ms": 5000}),
        "invalid_value",
        f"{INPUT}.turn_detection.idle_timeout_ms",
    ),
]


@pytest.mark.parametrize(("session", "code", "param"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_cannot_be_had_is_refused_by_name(session: Any, code: str, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        updated(Settings(), session)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert f"'{param}'" in str(refused.value) or "is no language;" in str(refused.value)


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"input_audio_noise_reduction": {"type": "near_field"}}, "session.input_audio_noise_reduction"),
        ({"input_audio_transcription": {"language": "?"}}, "session.input_audio_transcription.language"),
        ({"voice": "alloy"}, "session.voice"),
    ],
)
def test_so_it_is_in_the_beta_dialect(session: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        updated_as_beta(Settings(), session)
    assert refused.value.param == param


def test_the_beta_dialect_sets_the_same() -> None:
    beta: Any = {
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "m", "language": "", "prompt": "p"},
        "turn_detection": None,
        "input_audio_noise_reduction": None,
    }
    settings = updated_as_beta(Settings(), beta)
    assert settings == Settings(AudioFormat(Encoding.ALAW, 8000), "m", None, "p", (), None)
    shown = as_beta_session(settings, "sess_1", 5)
    assert shown["input_audio_format"] == "g711_alaw" and shown["turn_detection"] is None
    other = updated(settings, change(format={"type": "audio/pcm", "rate": 16000}))
    assert as_beta_session(other, "sess_1", 5)["input_audio_format"] == "audio/pcm"


def test_what_is_shown_can_be_sent_back() -> None:
    settings = updated(Settings(), change(transcription={"model": "m", "keywords": ["k"]}))
    shown: Any = as_session(settings, "sess_1", 5)
    again = {"type": shown["type"], "audio": shown["audio"], "include": shown["include"]}
    assert updated(Settings(), again) == settings


# Events of clients.


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)))
def test_no_event_is_too_strange_to_be_refused(value: Any) -> None:
    for kind in (*READERS, "response.cancel", value):
        for name in ("audio", "session", "more"):
            try:
                event_of({"type": kind, name: value})
            except BadRequest as error:
                assert error.code is not None


def test_audio_is_base64() -> None:
    assert event_of(fields_of('{"type": "input_audio_buffer.append", "audio": "AAEC", "event_id": "e"}')) == Append(
        b"\0\1\2"
    )


def test_an_engine_that_tells_nothing_is_asked_less_and_less() -> None:
    assert [pause_s(vain) for vain in range(4)] == [0, 1, 2, 4]
    assert pause_s(50) == LONGEST_PAUSE_S
