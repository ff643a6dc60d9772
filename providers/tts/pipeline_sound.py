"""What a model computed for a sentence, made fit to be joined with others. Pure."""

import numpy as np

from providers.tts.synthesizer import Samples

SILENT = 1e-4
"""-80 dB of full scale: whatever is quieter all over is no speech."""
QUIET = 10 ** (-50 / 20)
"""Of the loudest sample: what is quieter before the first and after the last louder one is the silence around."""
MARGIN_S = 0.01
FADE_S = 0.005
LOUDEST = 2.0
"""A sentence that goes beyond full scale is turned down, at most by half; what is louder still is a click."""


def pcm(samples: Samples, rate: int) -> bytes:
    """Signed 16 bits, little endian: speech without silence around it, that begins and ends at zero. Empty: there is
    none. Raises ValueError for samples that are no numbers."""
    if not np.isfinite(samples).all():
        raise ValueError("The model computed samples that are no numbers.")
    spoken = _trimmed(samples, rate)
    if not len(spoken):
        return b""
    peak = float(np.abs(spoken).max())
    spoken = np.clip(spoken / min(max(peak, 1.0), LOUDEST), -1.0, 1.0)
    return np.round(_faded(spoken, rate) * 32767).astype("<i2").tobytes()


def silence(seconds: float, rate: int) -> bytes:
    return bytes(2 * round(seconds * rate))


def _trimmed(samples: Samples, rate: int) -> Samples:
    loudness = np.abs(samples)
    peak = float(loudness.max(initial=0.0))
    if peak < SILENT:
        return samples[:0]
    heard = np.flatnonzero(loudness > peak * QUIET)
    margin = round(MARGIN_S * rate)
    return samples[max(int(heard[0]) - margin, 0) : int(heard[-1]) + 1 + margin]


def _faded(samples: Samples, rate: int) -> Samples:
    count = min(round(FADE_S * rate), len(samples) // 2)
    ramp = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
    faded = samples.copy()
    faded[:count] *= ramp
    faded[len(faded) - count :] *= ramp[::-1]
    return faded
