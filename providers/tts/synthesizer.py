"""What a library that speaks is wrapped in. One synthesizer is one loaded model; requests share it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""One dimension, -1 to 1, at the synthesizer's `sample_rate`."""


@dataclass(frozen=True, slots=True)
class Share:
    """One voice of a blend. Weights are positive, and of one blend sum to 1."""

    voice: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Reference:
    """A voice to clone: what somebody said, and its text. `pcm`: signed 16 bits, little endian, mono, at `rate` Hz."""

    pcm: bytes
    rate: int
    text: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How a text is to be spoken. One of `blend` and `reference` says with which voice."""

    blend: tuple[Share, ...] = ()
    reference: Reference | None = None
    speed: float = 1.0
    """0.25 to 4; 1 is the voice's own."""
    language: str | None = None
    """As BCP 47 has it; None: the voice's."""


class Synthesizer(Protocol):
    """Thread-safe. Every method but `close` may take long and blocks."""

    sample_rate: int
    """Hz."""
    longest_text: int
    """Characters that one call of `speak` takes well; longer sentences are cut where clauses end."""

    def check(self, manner: Manner) -> None:
        """Raises `InvalidRequest` for a voice or a language that the loaded model has not. Quick."""

    def speak(self, text: str, manner: Manner) -> Iterator[Samples]:
        """One sentence or so, without silence around it. Samples as they are computed; the work happens while
        iterating, and ends when the iterator is closed. Nothing, if nothing in the text can be spoken."""

    def close(self) -> None: ...
