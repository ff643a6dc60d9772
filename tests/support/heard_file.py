"""What is in a file of sound, by FFmpeg and by others."""

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import av
import numpy as np
import soundfile  # type: ignore[import-untyped]
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}


@dataclass(frozen=True)
class Sound:
    samples: Floats
    rate: int
    channels: int = 1

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def tone(self, start_s: float, end_s: float) -> float:
        """Hz, of the loudest one."""
        part = self.samples[round(start_s * self.rate) : round(end_s * self.rate)]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        return float(np.argmax(spectrum)) * self.rate / len(part)

    def level(self, start_s: float, end_s: float) -> float:
        part = self.samples[round(start_s * self.rate) : round(end_s * self.rate)]
        return float(np.sqrt(np.mean(part**2)))


def by_ffmpeg(data: bytes) -> Sound:
    """Raises av.FFmpegError for a damaged file."""
    with av.open(io.BytesIO(data), "r", options=STRICT) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.options = STRICT
        resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        frames = [one for frame in container.decode(stream) for one in resampler.resample(frame)]
        samples = np.concatenate([frame.to_ndarray()[0] for frame in (*frames, *resampler.resample(None))])
        return Sound(samples, stream.rate, stream.channels)


class Unseekable(soundfile.SoundFile):  # type: ignore[misc]
    """Of a file without a known length libsndfile reads no less, but cannot seek."""

    def seekable(self) -> bool:
        return False


def by_libsndfile(data: bytes) -> Sound:
    """MP3 by mpg123, Ogg/Opus by libopus, FLAC by libFLAC, WAV by itself. Raises soundfile.LibsndfileError."""
    with Unseekable(io.BytesIO(data)) as file:
        pieces: list[Floats] = []
        while len(piece := file.read(4096, dtype="float32")):
            pieces.append(piece)
        return Sound(np.concatenate(pieces), file.samplerate, file.channels)


def by_wave(data: bytes) -> Sound:
    """Python's own reader of WAV."""
    with wave.open(io.BytesIO(data)) as file:
        assert file.getsampwidth() == 2
        pcm = file.readframes(file.getnframes())
        return Sound(samples_of(pcm), file.getframerate(), file.getnchannels())


def samples_of(pcm: bytes) -> Floats:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


@dataclass(frozen=True)
class AdtsFrame:
    """https://wiki.multimedia.cx/index.php/ADTS"""

    offset: int
    length: int
    rate: int
    channels: int


def adts_frames(data: bytes) -> list[AdtsFrame]:
    """All of the file, byte by byte accounted for."""
    frames = list(_adts_frames(data))
    assert all(one.offset + one.length == other.offset for one, other in pairwise(frames))
    assert frames[-1].offset + frames[-1].length == len(data)
    return frames


def _adts_frames(data: bytes) -> Iterator[AdtsFrame]:
    offset = 0
    while offset < len(data):
        head = int.from_bytes(data[offset : offset + 7], "big")
        assert head >> 44 == 0xFFF, f"no frame at byte {offset}"
        length = head >> 13 & 0x1FFF
        assert length > 7
        yield AdtsFrame(offset, length, ADTS_RATES[head >> 34 & 0xF], head >> 30 & 0x7)
        offset += length
