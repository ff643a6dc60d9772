"""Files of sound in many containers and codecs, made as encoders make them."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import IO, cast

import av
import numpy as np
from numpy.typing import NDArray

from providers.asr.recognizer import SAMPLE_RATE

TONE_HZ = 1000
Floats = NDArray[np.float32]


def tone(seconds: float, rate: int, frequency: float = TONE_HZ) -> Floats:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound_file(
    samples: Floats,
    rate: int,
    container: str = "wav",
    codec: str = "pcm_s16le",
    layout: str = "mono",
    tags: dict[str, str] | None = None,
    picture: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """The same samples in each channel. `options` are the container's."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=options or {}) as target:
        target.metadata.update(tags or {})
        stream = cast(av.AudioStream, target.add_stream(codec, rate=rate))
        stream.layout = layout
        film = target.add_stream("mpeg4", rate=10) if picture else None
        if film is not None:
            film.width = film.height = 64
            film.pix_fmt = "yuv420p"
            _film(target, film, len(samples) / rate)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
        channels = av.AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None, :], "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            target.mux(stream.encode(piece))
    return out.getvalue()


def film_file(seconds: float = 1.0) -> bytes:
    """Without sound."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        film = target.add_stream("mpeg4", rate=10)
        film.width = film.height = 64
        film.pix_fmt = "yuv420p"
        _film(target, film, seconds)
    return out.getvalue()


def picture_file(codec: str) -> bytes:
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    context.width = context.height = 32
    context.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
    context.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24").reformat(format=context.pix_fmt)
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def write_long_wav(file: IO[bytes], seconds: int, rate: int = SAMPLE_RATE) -> None:
    """Silence. A file on the disk has a hole instead of it."""
    size = seconds * rate * 2
    file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
    file.write(struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16) + b"data" + struct.pack("<I", size))
    file.truncate(44 + size)
    file.seek(0)


def samples_of(pieces: Sequence[bytes]) -> Floats:
    return np.frombuffer(b"".join(pieces), "<i2").astype(np.float32) / np.float32(32768)


def loudest_hz(samples: Floats) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(samples)


def _film(target: av.container.OutputContainer, film: av.VideoStream, seconds: float) -> None:
    for order in range(round(seconds * 10)):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), order % 256, np.uint8), "rgb24")
        frame.pts, frame.time_base = order, Fraction(1, 10)
        target.mux(film.encode(frame))
    target.mux(film.encode(None))


def breaking_file(good: int, bad: int) -> bytes:
    """So many packets of sound (21 ms each), and so many that are none, in one container."""
    sound = sound_file(tone(good * 0.0215 + 0.5, 48_000), 48_000, "mp4", "aac")
    out = io.BytesIO()
    with av.open(io.BytesIO(sound), "r") as source, av.open(out, "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        packets = [packet for packet in source.demux(audio=0) if packet.size]
        for order in range(good + bad):
            packet = packets[order] if order < good else av.Packet(b"\xff" * 200)
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = order * 1024
            target.mux(packet)
    return out.getvalue()
