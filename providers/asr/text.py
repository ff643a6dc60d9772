"""The text of several segments."""

from collections.abc import Iterable

from providers.asr.recognizer import Segment

WITHOUT_SPACES = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})
"""Languages, as ISO 639-1 codes, that set no spaces between sentences."""


def joined(segments: Iterable[Segment]) -> str:
    text = ""
    for segment in segments:
        words = segment.text.strip()
        between = "" if segment.language in WITHOUT_SPACES or not text or not words else " "
        text += between + words
    return text
