"""The recognizer over Moonshine's own library."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from providers.asr.dialect import Features
from providers.asr.recognizer import Asked, Samples, Segment, Utterance
from providers.asr.refusal import refuse_what_it_cannot
from providers.moonshine.audible import Audible, within
from providers.moonshine.library import TAIL, Line, Model

LONGEST_PIECE_S = 15.0
"""What the library cuts at by itself, too: its models learnt from speech of such lengths."""


class MoonshineStream:
    """An `Utterance`: speech through one model."""

    def __init__(self, model: Model, language: str, keywords: Sequence[str], word_times: bool) -> None:
        self._model, self._language, self._keywords, self._word_times = model, language, keywords, word_times
        self._audible = Audible()
        self._handle: int | None = model.open()

    def feed(self, samples: Samples) -> None:
        self._model.add(self._open, samples)
        self._audible.feed(samples)

    def text(self) -> str:
        return self._model.understand(self._open, self._keywords).text

    def finish(self) -> tuple[Segment, ...]:
        self._model.add(self._open, np.zeros(TAIL, np.float32))
        line = self._model.understand(self._open, self._keywords, last=True)
        return (self._segment(line),) if line.text else ()

    def close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._model.end(handle)

    @property
    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the utterance is closed")
        return self._handle

    def _segment(self, line: Line) -> Segment:
        start_s, end_s = self._audible.bounds_s()
        words = tuple(within(word, start_s, end_s) for word in line.words) if self._word_times else ()
        return Segment(line.text, start_s, end_s, words, self._language)


class MoonshineRecognizer:
    """`models`: the same one several times, for as many pieces at once."""

    longest_piece_s = LONGEST_PIECE_S
    cuts_itself = False

    def __init__(self, models: Sequence[Model], slot: str, language: str, features: Features, streaming: bool) -> None:
        self._models, self._slot, self._language = models, slot, language
        self._features, self._streaming = features, streaming

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        with closing(self._stream(asked)) as stream:
            stream.feed(samples)
            yield from stream.finish()

    def utterance(self, asked: Asked) -> Utterance | None:
        """None where it gains nothing: other models begin anew each time. A text that is corrected step by step has no
        times of words: the library gives wrong ones."""
        return self._stream(asked) if self._streaming and not asked.word_times else None

    def close(self) -> None:
        for model in self._models:
            model.close()

    def _stream(self, asked: Asked) -> MoonshineStream:
        refuse_what_it_cannot(asked, self._features, self._slot)
        least_busy = min(self._models, key=lambda model: model.streams)
        keywords = [term for keyword in asked.keywords for term in keyword.split(",") if term.strip()]
        return MoonshineStream(least_busy, self._language, keywords, asked.word_times)
