"""What a speech recognition library is wrapped in. One recognizer is one loaded model; sessions share it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz, mono: what every recognizer hears. Whoever has audio of another rate resamples it before."""

Samples = NDArray[np.float32]
"""One dimension, -1 to 1, at `SAMPLE_RATE`."""


@dataclass(frozen=True, slots=True)
class Word:
    """Times in seconds; `probability` 0..1 where the model tells."""

    text: str
    start_s: float
    end_s: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence or so. Times in seconds. What a model does not tell is None or empty.

    The figures are Whisper's: https://platform.openai.com/docs/api-reference/audio/verbose-json-object
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    language: str | None = None
    """ISO 639-1 code, such as `en`."""
    language_probability: float | None = None
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks of its audio. A recognizer leaves out what it cannot do: its provider has refused it before.

    `prompt` is text that comes before, or words that occur; `previous` is what was heard right before these samples.
    """

    translate: bool = False
    language: str | None = None
    """ISO 639-1 code; None: the model's own, or detected."""
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    word_times: bool = False
    previous: str = ""


class Utterance(Protocol):
    """Speech that is recognized while it is still being spoken. Used by one thread at a time."""

    def feed(self, samples: Samples) -> None: ...

    def text(self) -> str:
        """What has been heard so far; later calls may correct its end."""

    def finish(self) -> tuple[Segment, ...]:
        """No more comes. Times count from the first sample fed."""

    def close(self) -> None:
        """Free what it holds, finished or not. May be called again."""


class Recognizer(Protocol):
    """Thread-safe: sessions call it from several threads at once. Every method but `close` may take long and blocks."""

    longest_piece_s: float
    """The most audio that one call of `recognize` may get."""
    cuts_itself: bool
    """Whether it finds speech in a piece by itself. If not, it is given pieces that are speech."""

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        """Segments as they are found, in order, times counting from the first sample. The work happens while iterating,
        and ends when the iterator is closed."""

    def utterance(self, asked: Asked) -> Utterance | None:
        """None: it cannot recognize speech piecemeal; `recognize` is asked again as the utterance grows."""

    def close(self) -> None: ...
