"""Samples as clients send them."""

import io
import wave

import numpy as np
from numpy.typing import NDArray

from providers.tiny.tones import SAMPLE_RATE


def pcm(samples: NDArray[np.float32]) -> bytes:
    """Signed 16 bits, little endian; what is too loud is clipped."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def wav(samples: NDArray[np.float32], rate: int = SAMPLE_RATE) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(samples))
    return out.getvalue()
