"""What every session does with a recognizer: one piece after the other, each knowing the text before it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from providers.asr.cutting import Piece
from providers.asr.messages import Failed
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer, Samples, Segment, Utterance
from providers.asr.tape import seconds
from providers.asr.text import joined
from providers.errors import EngineError, InvalidRequest

logger = logging.getLogger("hal0.asr")

REMEMBERED = 200
"""Characters of the text before a piece."""


CONFIDENT = 0.5
"""Of a detected language; as sure as faster-whisper must be by default."""


class Hearing:
    """`gone` says that nobody listens any more: then no further segment is computed. `one_language`: what the first
    piece was detected to be, all are: a short one is easily mistaken."""

    def __init__(self, recognizer: Recognizer, gone: Callable[[], bool], one_language: bool = False) -> None:
        self._recognizer, self._gone, self._one_language = recognizer, gone, one_language
        self._previous = ""
        self._language: str | None = None

    def utterance(self, asked: Asked) -> Utterance | None:
        return self._recognizer.utterance(self._knowing(asked))

    def text(self, samples: Samples, asked: Asked) -> str:
        """Of a piece that may still grow."""
        return joined(self._recognized(samples, self._knowing(asked)))

    def segments(self, piece: Piece, asked: Asked, utterance: Utterance | None = None) -> Iterator[Segment]:
        """Times count from the beginning of the session's audio. `utterance` has been fed the whole piece."""
        if utterance is not None:
            found: Iterable[Segment] = utterance.finish()
        else:
            found = self._recognized(piece.samples, self._knowing(asked))
        heard = []
        for segment in found:
            heard.append(segment)
            if self._one_language and (segment.language_probability or 0.0) >= CONFIDENT:
                self._language = self._language or segment.language
            yield placed(segment, piece)
        self._previous = joined(heard)[-REMEMBERED:]

    def _knowing(self, asked: Asked) -> Asked:
        return replace(asked, previous=self._previous, language=asked.language or self._language)

    def _recognized(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        segments = self._recognizer.recognize(samples, asked)
        try:
            while not self._gone() and (segment := next(segments, None)) is not None:
                yield segment
        finally:
            close = getattr(segments, "close", None)
            if close is not None:
                close()


def placed(segment: Segment, piece: Piece) -> Segment:
    """Where it lies in the session's audio. A model may think that its last word ends after its samples."""

    def place(time_s: float) -> float:
        return seconds(piece.start) + min(max(float(time_s), 0.0), len(piece.samples) / SAMPLE_RATE)

    words = tuple(replace(word, start_s=place(word.start_s), end_s=place(word.end_s)) for word in segment.words)
    return replace(segment, start_s=place(segment.start_s), end_s=place(segment.end_s), words=words)


def failure(error: Exception, utterance: int | None = None) -> Failed:
    """As the client may know it. What is not the client's to mend is logged."""
    if isinstance(error, InvalidRequest):
        return Failed(message=error.message, status=400, code=error.code, param=error.param, utterance=utterance)
    if isinstance(error, EngineError):
        logger.warning("recognition failed: %s", error)
        return Failed(
            message=error.message, status=error.status, code=error.code, param=error.param, utterance=utterance
        )
    logger.error("recognition failed: %s", error, exc_info=error)
    return Failed(message=f"Speech recognition failed: {str(error) or type(error).__name__}", utterance=utterance)
