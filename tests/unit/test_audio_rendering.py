"""One transcript in all formats, read back by the libraries that players use."""

import html
import io
import json
from typing import Any

import srt as subrip  # type: ignore[import-untyped]
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.recognizer import Asked, Segment, Word
from serve_app.audio.rendering import Text, Transcript, delta_event, done_event, pieces, rendered, srt, verbose, vtt
from serve_app.audio.request import Format, TranscriptionRequest

HELLO = Segment(
    " Hello there.",
    0.5,
    1.75,
    words=(Word(" Hello", 0.5, 1.0, 0.9), Word(" there.", 1.1234, 1.75)),
    language="en",
    tokens=(1, 2),
    temperature=0.2,
    avg_logprob=-0.3,
    compression_ratio=0.8,
    no_speech_prob=0.01,
)
AGAIN = Segment("You & <b>all</b>", 3661.0, 3662.0004)
SPOKEN = Transcript((HELLO, AGAIN), 3663.2, "en")


def request(format: Format = Format.JSON, **more: Any) -> TranscriptionRequest:
    fields: dict[str, Any] = {"asked": Asked(), "turns": None, "words": False, "segments": True, "streams": False}
    return TranscriptionRequest("ears", format=format, **(fields | more))


def answer(transcript: Transcript, **more: Any) -> Any:
    content_type, body = rendered(transcript, request(**more))
    assert content_type == b"application/json"
    return json.loads(body)


def test_json() -> None:
    usage = {"type": "duration", "seconds": 3664}
    assert answer(SPOKEN) == {"text": "Hello there. You & <b>all</b>", "usage": usage}


def test_text() -> None:
    assert rendered(SPOKEN, request(Format.TEXT)) == (
        b"text/plain; charset=utf-8",
        b"Hello there. You & <b>all</b>\n",
    )


def test_srt() -> None:
    content_type, body = rendered(SPOKEN, request(Format.SRT))
    assert content_type == b"text/plain; charset=utf-8"
    assert body.decode() == (
        "1\n00:00:00,500 --> 00:00:01,750\nHello there.\n\n2\n01:01:01,000 --> 01:01:02,000\nYou & <b>all</b>\n\n"
    )


def test_vtt() -> None:
    content_type, body = rendered(SPOKEN, request(Format.VTT))
    assert content_type == b"text/vtt; charset=utf-8"
    assert body.decode() == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.750\nHello there.\n\n"
        "01:01:01.000 --> 01:01:02.000\nYou &amp; &lt;b&gt;all&lt;/b&gt;\n\n"
    )


def test_verbose_json() -> None:
    found = answer(SPOKEN, format=Format.VERBOSE_JSON)
    first, second = found.pop("segments")
    assert found == {
        "task": "transcribe",
        "language": "english",
        "duration": 3663.2,
        "text": "Hello there. You & <b>all</b>",
        "usage": {"type": "duration", "seconds": 3664},
    }
    assert first == {
        "id": 0,
        "seek": 50,
        "start": 0.5,
        "end": 1.75,
        "text": "Hello there.",
        "tokens": [1, 2],
        "temperature": 0.2,
        "avg_logprob": -0.3,
        "compression_ratio": 0.8,
        "no_speech_prob": 0.01,
    }
    assert second.pop("compression_ratio") > 0
    assert second == {
        "id": 1,
        "seek": 366_100,
        "start": 3661.0,
        "end": 3662.0,
        "text": " You & <b>all</b>",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "no_speech_prob": 0.0,
    }


def test_words_alone_or_with_segments() -> None:
    words = [{"word": "Hello", "start": 0.5, "end": 1.0}, {"word": "there.", "start": 1.123, "end": 1.75}]
    alone = verbose(SPOKEN, request(words=True, segments=False))
    assert alone["words"] == words and "segments" not in alone
    both = verbose(SPOKEN, request(words=True))
    assert both["words"] == words and "segments" in both
    assert "words" not in verbose(SPOKEN, request())


def test_the_language() -> None:
    assert verbose(Transcript((), 1.0, "haw"), request())["language"] == "hawaiian"
    assert verbose(Transcript((), 1.0), request(asked=Asked(language="de")))["language"] == "german"
    assert verbose(Transcript((), 1.0), request())["language"] == "unknown"


def test_a_translation() -> None:
    german = Segment("Good day.", 0, 1, language="ja")
    found = verbose(Transcript((german, german), 1.0, "ja"), request(asked=Asked(translate=True)))
    assert (found["task"], found["language"], found["text"]) == ("translate", "english", "Good day. Good day.")


def test_languages_without_spaces() -> None:
    japanese = [Segment("こんにちは。", 0, 1, language="ja"), Segment("さようなら。", 1, 2, language="ja")]
    assert pieces(japanese, Asked()) == ["こんにちは。", "さようなら。"]
    chinese = [Segment("你好。", 0, 1), Segment("再见。", 1, 2)]
    assert pieces(chinese, Asked(language="zh")) == ["你好。", "再见。"]
    assert pieces(chinese, Asked()) == ["你好。", " 再见。"]


def test_nothing_was_said() -> None:
    silence = Transcript((), 0.0)
    assert answer(silence) == {"text": "", "usage": {"type": "duration", "seconds": 0}}
    assert rendered(silence, request(Format.TEXT))[1] == b"\n"
    assert rendered(silence, request(Format.SRT))[1] == b""
    assert rendered(silence, request(Format.VTT))[1] == b"WEBVTT\n\n"
    assert webvtt.from_buffer(io.StringIO("WEBVTT\n\n")).captions == []


def test_events() -> None:
    assert delta_event("a\nb") == b'data: {"type":"transcript.text.delta","delta":"a\\nb"}\n\n'
    event = json.loads(done_event("é", 1.2).removeprefix(b"data: "))
    assert event == {
        "type": "transcript.text.done",
        "text": "é",
        "usage": {"type": "duration", "seconds": 2},
    }


TIMES = st.floats(-1, 400_000)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
SEGMENTS = st.lists(st.builds(Segment, TEXTS, TIMES, TIMES, language=st.sampled_from([None, "en", "zh"])), max_size=6)


@given(SEGMENTS)
def test_deltas_joined_are_the_text(segments: list[Segment]) -> None:
    text = Text(Asked())
    deltas = [text.add(segment) for segment in segments]
    found = verbose(Transcript(segments, 1.0), request())
    assert "".join(deltas) == text.whole == found["text"]
    listed: Any = found["segments"]
    assert "".join(one["text"] for one in listed) == text.whole


def assert_monotone(times: list[tuple[float, float]]) -> None:
    last_end = 0.0
    for start, end in times:
        assert last_end <= start < end
        last_end = end


def cues(segments: list[Segment]) -> list[str]:
    return [line for segment in segments if (line := " ".join(segment.text.split()))]


@given(SEGMENTS)
def test_srt_is_read_back(segments: list[Segment]) -> None:
    found = list(subrip.parse(srt(segments)))
    assert_monotone([(cue.start.total_seconds(), cue.end.total_seconds()) for cue in found])
    assert [cue.index for cue in found] == list(range(1, len(found) + 1))
    assert [cue.content for cue in found] == [line.replace("-->", "->") for line in cues(segments)]


@given(SEGMENTS)
def test_vtt_is_read_back(segments: list[Segment]) -> None:
    found = webvtt.from_buffer(io.StringIO(vtt(segments))).captions
    assert [html.unescape(cue.raw_text) for cue in found] == cues(segments)
    assert_monotone([(_ms(cue.start), _ms(cue.end)) for cue in found])


def _ms(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3_600_000 + int(minutes) * 60_000 + float(seconds) * 1000


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 10)), min_size=1, max_size=6))
def test_good_times_are_kept_to_the_millisecond(spans: list[tuple[float, float]]) -> None:
    segments, at = [], 0.0
    for pause, length in spans:
        segments.append(Segment("x", at + pause, at + pause + length))
        at += pause + length
    for segment, cue in zip(segments, subrip.parse(srt(segments)), strict=True):
        assert abs(cue.start.total_seconds() - segment.start_s) <= 0.00051
        assert abs(cue.end.total_seconds() - segment.end_s) <= 0.00051
