"""Words of the tone alphabet in a sound: word k is a sine of 500 + 250 k Hz that lasts 0.24 s."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import mul

WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
FREQUENCIES = tuple(500 + 250 * order for order in range(len(WORDS)))
FRAMES_A_SECOND = 50
FRAMES_A_WORD = 12
QUIET = 0.01
"""Of full loudness, below which a frame is silent."""
SHARE = 0.5
"""Of a frame's energy, which its tone has at least."""
FULL = 32768.0

Waves = list[tuple[Sequence[float], Sequence[float]]]


def heard(samples: Sequence[int], rate: int) -> list[str]:
    """A tone that goes on is as many words as it lasts."""
    frames = _frames(samples, rate)
    words = []
    for word, run in groupby(frames):
        if word is not None:
            words += [WORDS[word]] * round(len(list(run)) / FRAMES_A_WORD)
    return words


def _frames(samples: Sequence[int], rate: int) -> Iterator[int | None]:
    """Each 20 ms: the word whose tone it is, or None."""
    size = rate // FRAMES_A_SECOND
    waves = _waves(size, rate)
    for start in range(0, len(samples) - size + 1, size):
        yield _word(samples[start : start + size], waves)


def _waves(size: int, rate: int) -> Waves:
    turns = [[2 * math.pi * frequency * place / rate for place in range(size)] for frequency in FREQUENCIES]
    return [([math.sin(turn) for turn in row], [math.cos(turn) for turn in row]) for row in turns]


def _word(frame: Sequence[int], waves: Waves) -> int | None:
    energy = sum(map(mul, frame, frame))
    if energy < len(frame) * (QUIET * FULL) ** 2:
        return None
    powers = [(sum(map(mul, frame, sine)) ** 2 + sum(map(mul, frame, cosine)) ** 2) for sine, cosine in waves]
    loudest = max(powers)
    # A sine of amplitude a: its power here is (a n / 2)², its energy a² n / 2.
    return powers.index(loudest) if loudest * 2 >= SHARE * energy * len(frame) else None
