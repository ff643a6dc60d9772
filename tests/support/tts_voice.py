"""A real synthesizer that needs no model: a tone for each letter and digit. It tells what it was asked, and when."""

import threading
from collections.abc import Iterator

import numpy as np

from providers.errors import InvalidRequest
from providers.tts.synthesizer import Manner, Samples

LETTER_S = 0.05
SILENCE_S = 0.1
"""Around each sentence, as models have it."""
LOUDNESS = 0.5
VOICES = {"low": 1.0, "high": 2.0}


def frequency(character: str, voice: str = "low") -> float:
    return (300.0 + 10 * (ord(character.lower()) % 64)) * VOICES[voice]


class ToneVoice:
    """`begun` is what it was given to speak, in that order; `words` what it has computed of it. While `gate` is not
    set, it stands before a sentence; `passes` of them it lets through. `fails_on`: a word that it breaks at;
    `refuses`: one that it calls the client's mistake."""

    def __init__(self, sample_rate: int = 8000, longest_text: int = 200) -> None:
        self.sample_rate, self.longest_text = sample_rate, longest_text
        self.begun: list[str] = []
        self.words: list[str] = []
        self.manners: list[Manner] = []
        self.gate = threading.Event()
        self.gate.set()
        self.passes = threading.Semaphore(0)
        self.fails_on = self.refuses = ""
        self.iterators_open = self.closed = 0
        self.most_at_once = 0
        self._count = threading.Lock()

    def check(self, manner: Manner) -> None:
        for share in manner.blend:
            if share.voice not in VOICES:
                raise InvalidRequest(f"The model has no voice {share.voice}.", "voice", "unknown_voice")

    def speak(self, text: str, manner: Manner) -> Iterator[Samples]:
        with self._count:
            self.begun.append(text)
            self.manners.append(manner)
            self.iterators_open += 1
            self.most_at_once = max(self.most_at_once, self.iterators_open)
        try:
            while not self.gate.is_set() and not self.passes.acquire(timeout=0.005):
                pass
            if self.fails_on and self.fails_on in text:
                raise RuntimeError(f"the library broke at {self.fails_on}")
            if self.refuses and self.refuses in text:
                raise InvalidRequest("Nobody says this.", "input", "unspeakable")
            yield self._silence()
            for word in text.split():
                self.words.append(word)
                if tones := [self._tone(character, manner) for character in word if character.isalnum()]:
                    yield np.concatenate(tones)
            yield self._silence()
        finally:
            with self._count:
                self.iterators_open -= 1

    def close(self) -> None:
        assert not self.iterators_open
        self.closed += 1

    def _silence(self) -> Samples:
        return np.zeros(round(SILENCE_S * self.sample_rate), np.float32)

    def _tone(self, character: str, manner: Manner) -> Samples:
        voice = manner.blend[0].voice if manner.blend else "low"
        times = np.arange(round(LETTER_S / manner.speed * self.sample_rate)) / self.sample_rate
        tone: Samples = (LOUDNESS * np.sin(2 * np.pi * frequency(character, voice) * times)).astype(np.float32)
        return tone
