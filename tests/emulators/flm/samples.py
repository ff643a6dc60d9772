"""Sounds to samples: WAV always, and what else FFmpeg takes where PyAV is there."""

import io
import wave
from array import array
from collections.abc import Sequence

RATE = 16_000
"""Hz, of all that PyAV decodes."""


def decode(sound: bytes) -> tuple[Sequence[int], int]:
    """Samples of 16 bits, mono, and their rate in Hz; none of what cannot be decoded."""
    try:
        return _wav(sound)
    except (wave.Error, EOFError, ValueError):
        return _any(sound), RATE


def _wav(sound: bytes) -> tuple[Sequence[int], int]:
    """Raises `wave.Error`, `EOFError` or `ValueError` for all but 16 bits in a WAV file."""
    with wave.open(io.BytesIO(sound)) as file:
        if file.getsampwidth() != 2:
            raise wave.Error("not of 16 bits")
        samples, channels = array("h", file.readframes(file.getnframes())), file.getnchannels()
        mono = samples if channels == 1 else array("h", map(_mean, zip(*[iter(samples)] * channels, strict=False)))
        return mono, file.getframerate()


def _mean(values: tuple[int, ...]) -> int:
    return sum(values) // len(values)


def _any(sound: bytes) -> Sequence[int]:
    try:
        import av
    except ImportError:
        return array("h")
    try:
        with av.open(io.BytesIO(sound), "r") as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            frames = [*container.decode(audio=0), None]
            pieces = [piece for frame in frames for piece in resampler.resample(frame)]
        return array("h", b"".join(bytes(piece.planes[0])[: piece.samples * 2] for piece in pieces))
    except (av.FFmpegError, IndexError):
        return array("h")
