"""A real recognizer of the tiny models' language: it hears which tone sounds when. It needs no model and no library."""

import threading
from collections.abc import Iterator

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment, Utterance, Word
from providers.errors import InvalidRequest
from providers.tiny.tones import FREQUENCIES, WORD_S, WORDS

HOP = SAMPLE_RATE // 100
WINDOW = 2 * HOP
LOUD = 0.02
SHORTEST_S = 0.06
PAUSE_S = 0.2


class Ear:
    """Segments end at pauses of 0.2 s. `fails_on`: a word that it breaks at; `refuses`: one that it calls the client's
    mistake. While `gate` is not set, it is at work. `pieces` is what it was given, `asked` how."""

    def __init__(
        self, longest_piece_s: float = 10.0, cuts_itself: bool = False, piecemeal: bool = False, fails_on: str = ""
    ) -> None:
        self.longest_piece_s, self.cuts_itself, self.piecemeal = longest_piece_s, cuts_itself, piecemeal
        self.fails_on, self.refuses = fails_on, ""
        self.gate = threading.Event()
        self.gate.set()
        self.at_work = threading.Event()
        self.pieces: list[float] = []
        self.asked: list[Asked] = []
        self.utterances: list[PiecemealEar] = []
        self.closed = 0
        self.iterators_open = 0

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert len(samples) <= self.longest_piece_s * SAMPLE_RATE
        self.pieces.append(len(samples) / SAMPLE_RATE)
        self.asked.append(asked)
        self.iterators_open += 1
        try:
            for segment in segments_of(heard(samples)):
                self.at_work.set()
                assert self.gate.wait(60)
                self._break_at(segment.text)
                yield segment
        finally:
            self.iterators_open -= 1

    def utterance(self, asked: Asked) -> Utterance | None:
        if not self.piecemeal:
            return None
        self.asked.append(asked)
        self.utterances.append(PiecemealEar(self))
        return self.utterances[-1]

    def close(self) -> None:
        assert not self.iterators_open
        self.closed += 1

    def _break_at(self, text: str) -> None:
        if self.fails_on and self.fails_on in text:
            raise RuntimeError(f"the library broke at {self.fails_on}")
        if self.refuses and self.refuses in text:
            raise InvalidRequest("Nobody says this.", "language", "unspeakable")


class PiecemealEar:
    def __init__(self, ear: Ear) -> None:
        self._ear, self._fed = ear, list[Samples]()
        self.closed = False

    @property
    def _samples(self) -> Samples:
        return np.concatenate(self._fed) if self._fed else np.empty(0, np.float32)

    def feed(self, samples: Samples) -> None:
        assert not self.closed
        self._fed.append(samples)

    def text(self) -> str:
        return " ".join(word.text for word in heard(self._samples))

    def finish(self) -> tuple[Segment, ...]:
        found = tuple(segments_of(heard(self._samples)))
        for segment in found:
            self._ear._break_at(segment.text)
        self._ear.pieces.append(len(self._samples) / SAMPLE_RATE)
        return found

    def close(self) -> None:
        self.closed = True


def heard(samples: Samples) -> list[Word]:
    """A tone that sounds as long as two words is two. What is shorter than 60 ms is none."""
    found: list[Word] = []
    run_start, run_tone = 0, -1
    tones = [*_tones(samples), -1]
    for hop, tone in enumerate(tones):
        if tone == run_tone:
            continue
        length_s = (hop - run_start) * HOP / SAMPLE_RATE
        if run_tone >= 0 and length_s >= SHORTEST_S:
            count = max(1, round(length_s / WORD_S))
            for order in range(count):
                start_s = run_start * HOP / SAMPLE_RATE + order * length_s / count
                found.append(Word(WORDS[run_tone], start_s, start_s + length_s / count, 0.9))
        run_start, run_tone = hop, tone
    return found


def _tones(samples: Samples) -> list[int]:
    """One for every 10 ms; -1 for silence."""
    if len(samples) < WINDOW:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(windows, axis=1))
    bins = [round(frequency * WINDOW / SAMPLE_RATE) for frequency in FREQUENCIES]
    best = np.argmax(spectrum[:, bins], axis=1)
    loud = np.sqrt(np.mean(windows**2, axis=1)) > LOUD
    return [int(tone) if sounds else -1 for tone, sounds in zip(best, loud, strict=True)]


def segments_of(words: list[Word]) -> Iterator[Segment]:
    begun: list[Word] = []
    for word in words:
        if begun and word.start_s - begun[-1].end_s > PAUSE_S:
            yield _segment(begun)
            begun = []
        begun.append(word)
    if begun:
        yield _segment(begun)


def _segment(words: list[Word]) -> Segment:
    text = " ".join(word.text for word in words)
    language = "de" if words[0].text == "hotel" else "en"
    return Segment(text, words[0].start_s, words[-1].end_s, tuple(words), language, 0.8)
