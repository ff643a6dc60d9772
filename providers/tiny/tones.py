"""The language of the tiny speech models: each word is a tone of its own, so that speech of any length can be made.

Word `k` of `WORDS` is a sine of 500 + 250 k Hz that lasts `WORD_S`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
WORD_S = 0.24
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
FREQUENCIES = tuple(500 + 250 * order for order in range(len(WORDS)))
"""Hz. Every word has whole periods, and so has every 20 ms of it: tones do not leak into each other."""


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
