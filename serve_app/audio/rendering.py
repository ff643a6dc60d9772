"""What was heard, in all of OpenAI's formats, for every engine alike. Pure.

https://platform.openai.com/docs/api-reference/audio/json-object; SubRip; https://www.w3.org/TR/webvtt1/
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from providers.asr.recognizer import Asked, Segment, Word
from providers.asr.text import WITHOUT_SPACES
from providers.base import JsonObject
from serve_app.audio.languages import english_name
from serve_app.audio.request import Format, TranscriptionRequest
from serve_app.http_io import dump_json

JSON = b"application/json"
PLAIN = b"text/plain; charset=utf-8"
VTT = b"text/vtt; charset=utf-8"
SEEK_RATE = 100
"""Whisper counts in frames of 10 ms."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """All of a file. `language`: its ISO 639-1 code, None if nobody knows."""

    segments: Sequence[Segment]
    duration_s: float
    language: str | None = None


class Text:
    """One text of many segments, as it grows: its pieces, joined, are the whole exactly."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.whole = ""

    def add(self, segment: Segment) -> str:
        """The segment's piece, with the space that parts it from the one before where its language has them."""
        piece = segment.text.strip()
        if self.whole and piece and self._has_spaces(segment):
            piece = f" {piece}"
        self.whole += piece
        return piece

    def _has_spaces(self, segment: Segment) -> bool:
        # What a translation tells is the language that was spoken; its text is English.
        return self._asked.translate or (segment.language or self._asked.language) not in WITHOUT_SPACES


def pieces(segments: Sequence[Segment], asked: Asked) -> list[str]:
    """Of the text, one for each segment."""
    text = Text(asked)
    return [text.add(segment) for segment in segments]


def rendered(transcript: Transcript, request: TranscriptionRequest) -> tuple[bytes, bytes]:
    """The content type, and the body."""
    text = "".join(pieces(transcript.segments, request.asked))
    match request.format:
        case Format.JSON:
            return JSON, dump_json({"text": text, "usage": usage(transcript.duration_s)})
        case Format.VERBOSE_JSON:
            return JSON, dump_json(verbose(transcript, request))
        case Format.TEXT:
            return PLAIN, f"{text}\n".encode()
        case Format.SRT:
            return PLAIN, srt(transcript.segments).encode()
        case Format.VTT:
            return VTT, vtt(transcript.segments).encode()


def delta_event(piece: str) -> bytes:
    return _event({"type": "transcript.text.delta", "delta": piece})


def done_event(text: str, duration_s: float) -> bytes:
    return _event({"type": "transcript.text.done", "text": text, "usage": usage(duration_s)})


def usage(duration_s: float) -> JsonObject:
    return {"type": "duration", "seconds": math.ceil(duration_s)}


def verbose(transcript: Transcript, request: TranscriptionRequest) -> JsonObject:
    translate, texts = request.asked.translate, pieces(transcript.segments, request.asked)
    answer: JsonObject = {
        "task": "translate" if translate else "transcribe",
        "language": english_name("en" if translate else transcript.language or request.asked.language),
        "duration": round(transcript.duration_s, 3),
        "text": "".join(texts),
    }
    if request.words:
        answer["words"] = [_word(word) for segment in transcript.segments for word in segment.words]
    if request.segments:
        answer["segments"] = [
            _segment(number, segment, text)
            for number, (segment, text) in enumerate(zip(transcript.segments, texts, strict=True))
        ]
    return answer | {"usage": usage(transcript.duration_s)}


def srt(segments: Sequence[Segment]) -> str:
    """SubRip has no way to escape anything; only an arrow would be taken for more than text."""
    return "".join(
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{text.replace('-->', '->')}\n\n"
        for number, (start, end, text) in enumerate(_cues(segments), start=1)
    )


def vtt(segments: Sequence[Segment]) -> str:
    return "WEBVTT\n\n" + "".join(
        f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n\n" for start, end, text in _cues(segments)
    )


def _segment(number: int, segment: Segment, piece: str) -> JsonObject:
    """What the model does not tell is 0, which says nothing against a segment; its text's compression can be told."""
    tokens: list[JsonValue] = list(segment.tokens)
    return {
        "id": number,
        "seek": round(segment.start_s * SEEK_RATE),
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": piece,
        "tokens": tokens,
        "temperature": segment.temperature or 0.0,
        "avg_logprob": segment.avg_logprob or 0.0,
        "compression_ratio": _compression(piece) if segment.compression_ratio is None else segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob or 0.0,
    }


def _word(word: Word) -> JsonObject:
    return {"word": word.text.strip(), "start": round(word.start_s, 3), "end": round(word.end_s, 3)}


def _compression(text: str) -> float:
    """As Whisper counts it: https://github.com/openai/whisper/blob/main/whisper/utils.py"""
    raw = text.encode()
    return round(len(raw) / len(zlib.compress(raw)), 3)


def _cues(segments: Sequence[Segment]) -> Iterator[tuple[int, int, str]]:
    """Begin and end in ms, and the text in one line. Cues neither overlap nor vanish, whatever the engine says."""
    last_end = 0
    for segment in segments:
        text = " ".join(segment.text.split())
        if not text:
            continue
        start = max(round(segment.start_s * 1000), last_end)
        last_end = max(round(segment.end_s * 1000), start + 1)
        yield start, last_end, text


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _event(event: JsonObject) -> bytes:
    return b"data: " + dump_json(event) + b"\n\n"
