"""Vectors of texts, by their words: the same each time, and alike for texts that share words."""

import math
from functools import lru_cache
from random import Random

DIMENSIONS = 768
MOST_WORDS = 2048
TASK = "task: search result | query: "
"""Always put before: the server knows no other task."""


def embed(text: str) -> list[float]:
    """768 numbers of length 1. What is past 2048 words does not count."""
    words = (TASK + text).lower().split()[:MOST_WORDS]
    total = [sum(column) for column in zip(*(_vector(word) for word in words), strict=True)]
    length = math.sqrt(sum(value * value for value in total))
    return [value / length for value in total]


@lru_cache(maxsize=4096)
def _vector(word: str) -> tuple[float, ...]:
    random = Random(word)
    return tuple(random.gauss(0, 1) for _ in range(DIMENSIONS))
