"""A stretch of a session's audio. Positions are samples since the beginning of all audio."""

from collections import deque

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Samples

BLOCK = SAMPLE_RATE


class Tape:
    """What lies from `begin` to `end`. Memory is that plus less than two blocks, whatever pieces audio comes in."""

    def __init__(self, origin: int = 0) -> None:
        self.begin = self.end = origin
        self._blocks: deque[Samples] = deque()
        self._first = origin
        """Where the first block begins."""

    def __len__(self) -> int:
        return self.end - self.begin

    def append(self, samples: Samples) -> None:
        while len(samples):
            room = self._first + len(self._blocks) * BLOCK - self.end
            if not room:
                self._blocks.append(np.empty(BLOCK, np.float32))
                room = BLOCK
            written, samples = samples[:room], samples[room:]
            self._blocks[-1][BLOCK - room : BLOCK - room + len(written)] = written
            self.end += len(written)

    def read(self, start: int, end: int) -> Samples:
        """A copy. Both within what is kept."""
        read: Samples = np.empty(end - start, np.float32)
        position = start
        while position < end:
            block, offset = divmod(position - self._first, BLOCK)
            length = min(BLOCK - offset, end - position)
            read[position - start : position - start + length] = self._blocks[block][offset : offset + length]
            position += length
        return read

    def forget(self, before: int) -> None:
        self.begin = min(max(self.begin, before), self.end)
        while self._blocks and self._first + BLOCK <= self.begin:
            self._blocks.popleft()
            self._first += BLOCK


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE
