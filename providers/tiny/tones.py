"""The language of the tiny speech models: each word is a tone of its own, so that speech of any length can be made.

Word `k` of `WORDS` is a sine of 500 + 250 k Hz that lasts `WORD_S`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
WORD_S = 0.24
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
FREQUENCIES = tuple(500 + 250 * order for order in range(len(WORDS)))
"""Hz. Every word has whole periods, and so has every 20 ms of it: tones do not leak into each other."""
FRAMES_A_SECOND = 50


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Words of a language of tones, which all last equally long. `hertz` of each word's tone: 60 apart or more, as the
    tones of one frame are not told apart else, and none below 90. `word_frames`: 4 or more."""

    hertz: Mapping[str, float]
    word_frames: int

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.hertz)


ALPHABET = Alphabet(dict(zip(WORDS, FREQUENCIES, strict=True)), round(WORD_S * FRAMES_A_SECOND))


def tones(
    words: Sequence[str],
    *,
    before_s: float = 0.0,
    between_s: float = 0.0,
    after_s: float = 0.0,
    loudness: float = 0.5,
    rate: int = SAMPLE_RATE,
) -> NDArray[np.float32]:
    """Samples, -1 to 1 and mono, of the words with silence before, between and after them.

    Raises `ValueError` for a word that is not in `WORDS`.
    """
    time = np.arange(_length(WORD_S, rate)) / rate
    pieces = [_silence(before_s, rate)]
    for order, word in enumerate(words):
        if order:
            pieces.append(_silence(between_s, rate))
        pieces.append(loudness * np.sin(2 * np.pi * _frequency(word) * time))
    pieces.append(_silence(after_s, rate))
    return np.concatenate(pieces).astype(np.float32)


def _frequency(word: str) -> int:
    if word not in WORDS:
        raise ValueError(f"{word!r} has no tone; those that have one: {', '.join(WORDS)}")
    return FREQUENCIES[WORDS.index(word)]


def _silence(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.zeros(_length(seconds, rate))


def _length(seconds: float, rate: int) -> int:
    return round(seconds * rate)
