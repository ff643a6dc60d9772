"""Live audio as clients send it, to what engines hear: 16-bit mono at `SAMPLE_RATE`, piece by piece.

G.711: https://www.itu.int/rec/T-REC-G.711. Resampling: a windowed sinc whose shifts are one small matrix, since all
rates here are in simple proportion to 16 kHz. https://ccrma.stanford.edu/~jos/resample/
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from providers.asr.recognizer import SAMPLE_RATE

SAMPLE_BYTES = 2
"""Of what comes out."""
PCM_RATES = (8_000, 16_000, 24_000, 48_000)
G711_RATE = 8_000
ZERO_CROSSINGS = 32
"""Of the sinc, to each side: passes up to 6.8 kHz, and keeps 90 dB off what would fold back."""
CUTOFF = 0.945
KAISER_BETA = 9.0

Floats = NDArray[np.float32]


class Encoding(StrEnum):
    """OpenAI's names. `PCM` is signed, 16 bits, little endian."""

    PCM = "audio/pcm"
    ULAW = "audio/pcmu"
    ALAW = "audio/pcma"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Mono. `rate` in Hz."""

    encoding: Encoding
    rate: int

    @property
    def sample_bytes(self) -> int:
        return 2 if self.encoding is Encoding.PCM else 1

    def seconds(self, size: int) -> float:
        """Of so many bytes."""
        return size / self.sample_bytes / self.rate


class Converter:
    """One stream of one format. Its output lags a few milliseconds behind its input until `finish`."""

    def __init__(self, source: AudioFormat) -> None:
        self._source = source
        self._resampler = Resampler(source.rate) if source.rate != SAMPLE_RATE else None

    def feed(self, raw: bytes) -> bytes:
        """`raw` holds whole samples; ValueError otherwise. Takes some 150 times its size in memory meanwhile."""
        if self._resampler is None and self._source.encoding is Encoding.PCM:
            if len(raw) % SAMPLE_BYTES:
                raise ValueError("half a sample")
            return raw
        samples = _decoded(raw, self._source.encoding)
        return _packed(samples if self._resampler is None else self._resampler.feed(samples))

    def finish(self) -> bytes:
        """What the input's end still holds. The converter is used up."""
        return b"" if self._resampler is None else _packed(self._resampler.finish())


class Resampler:
    """From `rate` Hz to `SAMPLE_RATE`. What comes out does not depend on how the input is cut into pieces."""

    def __init__(self, rate: int) -> None:
        common = gcd(rate, SAMPLE_RATE)
        self._step, self._outputs = rate // common, SAMPLE_RATE // common
        self._kernel = _kernel(self._step, self._outputs)
        self._window = self._kernel.shape[0]
        self._reach = (self._window - self._step) // 2
        self._held: Floats = np.zeros(self._reach, np.float32)
        self._taken = self._given = 0

    def feed(self, samples: Floats) -> Floats:
        self._taken += len(samples)
        return self._step_through(samples)

    def finish(self) -> Floats:
        due = ceil(self._taken * self._outputs / self._step) - self._given
        return self._step_through(np.zeros(self._window + self._step, np.float32))[:due]

    def _step_through(self, samples: Floats) -> Floats:
        """Each step of the window over the input gives `_outputs` samples, one by each column of the kernel."""
        held = np.concatenate((self._held, samples))
        steps = max(0, (len(held) - self._window) // self._step + 1)
        self._held = held[steps * self._step :].copy()
        if not steps:
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(held, self._window)[:: self._step]
        out: Floats = (windows @ self._kernel).reshape(-1)
        self._given += len(out)
        return out


def _kernel(step: int, outputs: int) -> Floats:
    """Column p weighs a window of the input for the output at p * step / outputs from the window's beginning."""
    narrowed = min(1.0, outputs / step)
    reach = ceil(ZERO_CROSSINGS / narrowed)
    at = np.arange(step + 2 * reach)[:, None] - reach
    distance = at - np.arange(outputs)[None, :] * step / outputs
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None)))
    weights = np.sinc(distance * narrowed * CUTOFF) * window
    weights[np.abs(distance) > reach] = 0
    kernel: Floats = (weights / weights.sum(axis=0)).astype(np.float32)
    return kernel


def _decoded(raw: bytes, encoding: Encoding) -> Floats:
    if encoding is Encoding.PCM:
        return np.frombuffer(raw, "<i2").astype(np.float32)
    table = ULAW if encoding is Encoding.ULAW else ALAW
    samples: Floats = table[np.frombuffer(raw, np.uint8)]
    return samples


def _packed(samples: Floats) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


def _ulaw() -> Floats:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    size = (((code & 0x0F) << 3) + 132 << ((code & 0x70) >> 4)) - 132
    return np.where(code & 0x80, -size, size).astype(np.float32)


def _alaw() -> Floats:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    step, segment = (code & 0x0F) << 4, (code & 0x70) >> 4
    size = np.where(segment == 0, step + 8, (step + 264) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.float32)


ULAW, ALAW = _ulaw(), _alaw()
