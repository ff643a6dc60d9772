"""The sound of a stored voice."""

import io
import wave
from dataclasses import dataclass

SAMPLE_RATE = 24_000
"""Hz, of all stored sound: what models that clone compute at."""
SAMPLE_BYTES = 2


class BrokenSound(Exception):
    """A file is not the whole sound that was stored."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Somebody speaking, and what they say. `pcm`: signed 16 bits, little endian, mono, at `SAMPLE_RATE`."""

    pcm: bytes
    transcript: str

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / SAMPLE_BYTES / SAMPLE_RATE


def wav_of(pcm: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, SAMPLE_BYTES, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(pcm)
    return out.getvalue()


def pcm_of(wav: bytes) -> bytes:
    """Raises `BrokenSound`."""
    try:
        with wave.open(io.BytesIO(wav), "rb") as file:
            shape, count = (file.getnchannels(), file.getsampwidth(), file.getframerate()), file.getnframes()
            pcm = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise BrokenSound(f"{error}") from error
    if shape != (1, SAMPLE_BYTES, SAMPLE_RATE):
        raise BrokenSound(f"it has {shape[0]} channels of {shape[1]} bytes at {shape[2]} Hz")
    if not pcm or len(pcm) != count * SAMPLE_BYTES:
        raise BrokenSound(f"{len(pcm)} bytes of {count} samples are there")
    return pcm
