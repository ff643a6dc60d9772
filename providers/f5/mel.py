"""The spectrum that F5-TTS and Vocos know sound by: 100 bands on the mel scale, 94 frames a second. Pure.

https://github.com/SWivid/F5-TTS/blob/main/src/f5_tts/model/modules.py (get_vocos_mel_spectrogram)
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from providers.f5.shape import BANDS
from providers.tts.synthesizer import Samples

SAMPLE_RATE = 24_000
HOP, WINDOW = 256, 1024
"""Samples."""
FAINTEST = 1e-5

Spectrum = NDArray[np.float32]
"""Frames by bands: logarithms of magnitudes."""


def spectrum(samples: Samples) -> Spectrum:
    """One frame for each `HOP` begun. Takes more than half a `WINDOW` of samples."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    magnitudes = np.abs(np.fft.rfft(frames * _hann(), axis=1))
    return np.log(np.maximum(magnitudes @ _filters(), FAINTEST)).astype(np.float32)


@cache
def _hann() -> NDArray[np.float32]:
    """A periodic one."""
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """Overlapping triangles: from the frequencies of a transform to bands."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    distances = corners[None, :] - frequencies[:, None]
    widths = np.diff(corners)
    rising, falling = -distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]
    return np.maximum(0, np.minimum(rising, falling))
