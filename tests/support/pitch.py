"""How high a tone is."""

import numpy as np
from numpy.typing import NDArray


def pitch(samples: NDArray[np.float32], rate: int) -> float:
    """Hz of the loudest tone; about 0.5 % of a bandwidth of `rate / len(samples)` exact."""
    window = samples.astype(np.float64) * np.hanning(len(samples))
    padded = 1 << (len(samples) * 64).bit_length()
    spectrum = np.log(np.abs(np.fft.rfft(window, padded)) + 1e-12)
    peak = min(max(int(spectrum.argmax()), 1), len(spectrum) - 2)
    before, at, after = spectrum[peak - 1 : peak + 2]
    curve = before - 2 * at + after
    return float((peak + (0.5 * (before - after) / curve if curve else 0.0)) * rate / padded)
