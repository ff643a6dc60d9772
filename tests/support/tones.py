"""Speech of the tiny models, and what there is to be heard in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from providers.tiny.tones import WORD_S, WORDS, tones


@dataclass(frozen=True, slots=True)
class Speech:
    """Words with as much silence between any two of them. Times in seconds."""

    words: tuple[str, ...]
    before_s: float = 0.0
    between_s: float = 0.0
    after_s: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def starts_s(self) -> list[float]:
        """When each word begins."""
        return [self.before_s + order * (WORD_S + self.between_s) for order in range(len(self.words))]

    def samples(self) -> NDArray[np.float32]:
        return tones(self.words, before_s=self.before_s, between_s=self.between_s, after_s=self.after_s)


def speeches(count: int, seed: int, most_words: int = 20) -> Iterator[Speech]:
    """Speeches at random, some of them without silence, the same each time."""
    random = Random(seed)
    for _ in range(count):
        words = random.choices(WORDS, k=random.randint(1, most_words))
        before_s, between_s, after_s = (random.choice([0, random.uniform(0.1, 1)]) for _ in range(3))
        yield Speech(tuple(words), before_s, between_s / 2, after_s)
