"""Where in a piece somebody speaks. A model gives the silence around speech to the first and the last word."""

import numpy as np
from numpy.typing import NDArray

from providers.asr.recognizer import SAMPLE_RATE, Samples, Word

FRAME = SAMPLE_RATE // 50
QUIET = 10**-3.5
"""Of the loudest frame's power; -35 dB: below the quietest sounds of a word, above the noise of a good microphone."""


class Audible:
    """Audio in parts of any size. Of noise that is nearly as loud as speech nothing is taken away."""

    def __init__(self) -> None:
        self._powers: list[NDArray[np.float32]] = []
        self._rest: Samples = np.zeros(0, np.float32)
        self._samples = 0

    @property
    def duration_s(self) -> float:
        return self._samples / SAMPLE_RATE

    def feed(self, samples: Samples) -> None:
        self._samples += len(samples)
        waiting = np.concatenate((self._rest, samples))
        whole = len(waiting) - len(waiting) % FRAME
        self._powers.append(_powers(waiting[:whole]))
        self._rest = waiting[whole:]

    def bounds_s(self) -> tuple[float, float]:
        """From the first audible frame to the last, in seconds; all of it if all is silence."""
        rest = np.pad(self._rest, (0, -len(self._rest) % FRAME))
        powers = np.concatenate((*self._powers, _powers(rest)))
        audible = np.flatnonzero(powers > QUIET * powers.max(initial=0.0))
        if not len(audible):
            return 0.0, self.duration_s
        start, end = audible[0] * FRAME / SAMPLE_RATE, (audible[-1] + 1) * FRAME / SAMPLE_RATE
        return float(start), min(float(end), self.duration_s)


def within(word: Word, start_s: float, end_s: float) -> Word:
    """The word, without its blanks and without what lies before the start or after the end."""
    starts, ends = (min(max(at_s, start_s), end_s) for at_s in (word.start_s, word.end_s))
    return Word(word.text.strip(), starts, ends, word.probability)


def _powers(samples: Samples) -> NDArray[np.float32]:
    frames = samples.reshape(-1, FRAME)
    powers: NDArray[np.float32] = np.einsum("ij,ij->i", frames, frames)
    return powers
