"""Audio without end to pieces that a recognizer can take at once."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Samples
from providers.asr.tape import Tape

QUIET_WINDOW = SAMPLE_RATE // 10


@dataclass(frozen=True, slots=True)
class Began:
    """Speech has been detected; the utterance begins at this sample, padding included."""

    start: int


@dataclass(frozen=True, slots=True)
class Piece:
    """To be recognized. `start` in samples since the beginning of all audio; no two pieces overlap."""

    samples: Samples
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


Cut = Began | Piece


class Cutter(Protocol):
    """Chunks of any size give the same cuts. Memory is bounded by the longest piece."""

    @property
    def tape(self) -> Tape:
        """What has not been given out and still may be."""

    @property
    def open_since(self) -> int | None:
        """Where the piece begins that is being collected, if one is."""

    def feed(self, samples: Samples) -> list[Cut]: ...

    def commit(self) -> list[Cut]:
        """All that is kept is a piece, speech or not."""

    def finish(self) -> list[Cut]:
        """No more comes. What is left is a piece if it is worth one."""

    def clear(self) -> None:
        """What has been heard is forgotten."""


class BlockCutter:
    """For recognizers that find speech by themselves, and for sessions in which only a commit ends an utterance: blocks
    as long as may be, cut where the last quarter is quietest."""

    def __init__(self, longest_s: float, origin: int = 0) -> None:
        self._longest = round(longest_s * SAMPLE_RATE)
        self.tape = Tape(origin)

    @property
    def open_since(self) -> int | None:
        return self.tape.begin if self.tape else None

    def feed(self, samples: Samples) -> list[Cut]:
        self.tape.append(samples)
        cuts: list[Cut] = []
        while len(self.tape) >= self._longest:
            last = self.tape.begin + self._longest
            cuts.append(take(self.tape, self.tape.begin, quietest(self.tape, last - self._longest // 4, last)))
        return cuts

    def commit(self) -> list[Cut]:
        return [take(self.tape, self.tape.begin, self.tape.end)] if self.tape else []

    def finish(self) -> list[Cut]:
        return self.commit()

    def clear(self) -> None:
        self.tape.forget(self.tape.end)


def take(tape: Tape, start: int, end: int) -> Piece:
    piece = Piece(tape.read(start, end), start)
    tape.forget(end)
    return piece


def quietest(tape: Tape, start: int, end: int) -> int:
    """The middle of the quietest 100 ms: a cut there leaves words whole, as far as there is a pause between them."""
    energy = np.concatenate(((0.0,), np.cumsum(tape.read(start, end).astype(np.float64) ** 2)))
    window = min(QUIET_WINDOW, end - start)
    return start + int(np.argmin(energy[window:] - energy[:-window])) + window // 2
