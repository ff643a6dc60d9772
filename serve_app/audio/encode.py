"""Speech in the format that its client wants, encoded while it is spoken: bytes go out as soon as the codec gives them.

Samples are signed 16 bits, little endian, mono. No container here needs to go back to its beginning:
https://ffmpeg.org/ffmpeg-formats.html
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from serve_app.errors import ServingError

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler
    from av.audio.stream import AudioStream

PCM_RATE = 24_000
"""Hz: https://platform.openai.com/docs/guides/text-to-speech#supported-output-formats"""
OPUS_RATE = 48_000
RATES = frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
"""Those of MP3 and AAC that players know. What has another is resampled to `PCM_RATE`."""
SAMPLE_BYTES = 2
UNKNOWN_SIZE = 0xFFFFFFFF
"""Players read on to the end."""
WAV_PCM = 1


class Format(StrEnum):
    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


CONTENT_TYPES: Mapping[Format, bytes] = {
    Format.MP3: b"audio/mpeg",
    Format.OPUS: b"audio/opus",
    Format.AAC: b"audio/aac",
    Format.FLAC: b"audio/flac",
    Format.WAV: b"audio/wav",
    Format.PCM: b"audio/pcm",
}


class EncodingFailed(ServingError):
    status = 500
    code = "encoding_failed"

    def __init__(self, format: str, detail: str) -> None:
        super().__init__(format, detail)
        self.format, self.detail = format, detail

    def __str__(self) -> str:
        return f"The speech could not be encoded as {self.format}: {self.detail}"


class Encoder(Protocol):
    """Of one answer. Blocks while it computes; used by one thread at a time. Raises `EncodingFailed`."""

    computes: bool
    """If not, it only passes on, and needs no thread."""

    def feed(self, pcm: bytes) -> bytes:
        """Whole samples in; what can be sent of them, and of those before."""

    def finish(self) -> bytes:
        """The rest."""

    def close(self) -> None:
        """Frees everything, finished or not. May be called again."""


def encoder(format: Format, rate: int) -> Encoder:
    """`rate`: of what it is fed, in Hz."""
    if format is Format.PCM:
        return Plain(format, rate, PCM_RATE, b"")
    if format is Format.WAV:
        return Plain(format, rate, rate, wav_header(rate))
    return Coded(format, rate)


def wav_header(rate: int) -> bytes:
    """Of a file that nobody knows the length of: http://soundfile.sapp.org/doc/WaveFormat/"""
    shape = struct.pack("<HHIIHH", WAV_PCM, 1, rate, rate * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    riff = b"RIFF" + struct.pack("<I", UNKNOWN_SIZE) + b"WAVE"
    return riff + b"fmt " + struct.pack("<I", len(shape)) + shape + b"data" + struct.pack("<I", UNKNOWN_SIZE)


class Plain:
    """Samples as they are, perhaps at another rate."""

    def __init__(self, format: Format, rate: int, out_rate: int, header: bytes) -> None:
        self._format, self._rate, self._out_rate = format, rate, out_rate
        self._header, self.computes = header, rate != out_rate
        self._resampler: AudioResampler | None = None

    def feed(self, pcm: bytes) -> bytes:
        if self.computes:
            with _told(self._format):
                pcm = b"".join(map(_samples, self._resampling().resample(_frame(pcm, self._rate))))
        return self._with_header(pcm)

    def finish(self) -> bytes:
        rest = b""
        if self._resampler is not None:
            with _told(self._format):
                rest = b"".join(map(_samples, self._resampler.resample(None)))
        return self._with_header(rest)

    def close(self) -> None:
        self._resampler = None

    def _with_header(self, data: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + data

    def _resampling(self) -> "AudioResampler":
        # Imported here: every process of the server imports this module, and only an ingress encodes.
        import av

        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._out_rate)
        return self._resampler


@dataclass(frozen=True, slots=True)
class Coding:
    """How FFmpeg makes a format. `bit_rate` in bits a second; 0: it has none to choose."""

    muxer: str
    codec: str
    out_rate: Callable[[int], int]
    bit_rate: int = 0
    codec_options: Mapping[str, str] = field(default_factory=dict)
    muxer_options: Mapping[str, str] = field(default_factory=dict)


def _known_rate(rate: int) -> int:
    return rate if rate in RATES else PCM_RATE


CODINGS: Mapping[Format, Coding] = {
    # The index at the beginning of an MP3 would be written last; a bit reservoir holds frames back.
    Format.MP3: Coding(
        "mp3", "libmp3lame", _known_rate, 96_000, {"reservoir": "0"}, {"write_xing": "0", "id3v2_version": "0"}
    ),
    # A page holds what it is to be sent with: each packet is its own, 20 ms.
    Format.OPUS: Coding("ogg", "libopus", lambda _: OPUS_RATE, 64_000, {}, {"page_duration": "20000"}),
    # FFmpeg's other way to choose takes several times as long for pure tones.
    Format.AAC: Coding("adts", "aac", _known_rate, 96_000, {"aac_coder": "fast"}),
    Format.FLAC: Coding("flac", "flac", lambda rate: rate, 0, {}, {"metadata_header_padding": "0"}),
}


class Coded:
    """Encoded by FFmpeg."""

    computes = True

    def __init__(self, format: Format, rate: int) -> None:
        self._format, self._rate = format, rate
        self._chain: Chain | None = None

    def feed(self, pcm: bytes) -> bytes:
        with _told(self._format):
            if self._chain is None:
                self._chain = Chain(CODINGS[self._format], self._rate)
            return self._chain.feed(_frame(pcm, self._rate))

    def finish(self) -> bytes:
        """Nothing if nothing was fed."""
        if self._chain is None:
            return b""
        with _told(self._format):
            return self._chain.finish()

    def close(self) -> None:
        if self._chain is not None:
            self._chain.close()
            self._chain = None


class Chain:
    """Resampler, codec, container, and the sink behind them. Raises what PyAV raises."""

    def __init__(self, coding: Coding, rate: int) -> None:
        import av

        out_rate = coding.out_rate(rate)
        self._sink = Sink()
        self._container = av.open(
            self._sink, "w", format=coding.muxer, options={"flush_packets": "1", **coding.muxer_options}
        )
        stream = self._container.add_stream(
            coding.codec, rate=out_rate, options=dict(coding.codec_options), layout="mono"
        )
        assert isinstance(stream, av.AudioStream)
        self._stream: AudioStream = stream
        codec = stream.codec_context
        codec.thread_count = 1
        if coding.bit_rate:
            codec.bit_rate = coding.bit_rate
        self._resampler = av.AudioResampler(format=codec.format.name, layout="mono", rate=out_rate)

    def feed(self, frame: "AudioFrame | None") -> bytes:
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(resampled))
        return self._sink.taken()

    def finish(self) -> bytes:
        rest = self.feed(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return rest + self._sink.taken()

    def close(self) -> None:
        """Whatever the container still writes, or fails to write, is nobody's."""
        import av

        self._sink.abandon()
        with suppress(av.FFmpegError):
            self._container.close()


class Sink:
    """What FFmpeg writes to. It cannot go back."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._abandoned = False

    def write(self, data: bytes) -> int:
        if not self._abandoned:
            self._written += data
        return len(data)

    def taken(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken

    def abandon(self) -> None:
        self._abandoned = True


def _frame(pcm: bytes, rate: int) -> "AudioFrame":
    import numpy as np
    from av import AudioFrame

    frame = AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


def _samples(frame: "AudioFrame") -> bytes:
    # A plane may be longer than its samples.
    return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]


@contextmanager
def _told(format: Format) -> Iterator[None]:
    """PyAV's errors in our terms."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise EncodingFailed(format, f"{type(error).__name__}: {error}") from error
