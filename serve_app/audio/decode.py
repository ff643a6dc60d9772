"""A file of sound in whatever container, as engines take it: mono, signed 16 bits, little endian, at one rate.

The files are strangers': only a few containers are opened at all, none of them may lead to another file or address, and
of codecs only those of sound run. https://ffmpeg.org/ffmpeg-formats.html
"""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, NoReturn

from providers.asr.recognizer import SAMPLE_RATE
from serve_app.audio.signatures import HEAD_BYTES, told
from serve_app.audio.threads import in_thread
from serve_app.errors import BadRequest

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer

DEMUXERS = "aac,aiff,amr,flac,matroska,mov,mp3,mpeg,ogg,wav"
"""As FFmpeg names them."""
FORMATS = "flac, mp3, mp4, mpeg, mpga, m4a, ogg, opus, wav, webm, aac, aiff, amr, 3gp, mov, mkv"
"""As people name them."""
PIECES_A_SECOND = 2
PIECE_SAMPLES = SAMPLE_RATE // PIECES_A_SECOND
SAMPLE_BYTES = 2
LONGEST_S = 6 * 3600.0
MOST_BAD = 500
"""Packets in a row; some are skipped, as players do."""
LOWEST_HZ, HIGHEST_HZ = 1_000, 768_000
"""Of recorders. Beyond, a few bytes would become gigabytes: of samples below, of the resampler's filter above."""

Pieces = Generator[bytes, None, None]


class Audio:
    """An opened file that has sound. What it decodes to can be had more than once, one time after the other."""

    def __init__(self, file: IO[bytes], longest_s: float, rate: int) -> None:
        self._file, self._longest_s, self._rate = file, longest_s, rate
        self._decoder: Decoder | None = None
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Decodes the first piece, so that a file without one is known. Raises `BadRequest`."""
        self.close()
        self._decoder = Decoder(self._file, self._rate)
        self._first = await self._decoder.next()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Of about half a second, from the beginning. Raises `BadRequest` where the file breaks, or is too long."""
        if self._first is None:
            await self.begin()
        assert self._decoder is not None
        piece, self._first = self._first, None
        left = self._longest_s * self._rate * SAMPLE_BYTES
        while piece:
            left -= len(piece)
            if left < 0:
                raise too_long(self._longest_s)
            yield piece
            piece = await self._decoder.next()

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


@asynccontextmanager
async def opened(file: IO[bytes], longest_s: float = LONGEST_S, rate: int = SAMPLE_RATE) -> AsyncIterator[Audio]:
    """`rate` in Hz: what engines that hear take, unless another is asked for. Raises 400 `invalid_audio` for a file of
    which nothing can be heard."""
    audio = Audio(file, longest_s, rate)
    try:
        await audio.begin()
        yield audio
    finally:
        audio.close()


class Decoder:
    """One pass through a file, in threads, by one of them at a time."""

    def __init__(self, file: IO[bytes], rate: int) -> None:
        self._source = Source(file)
        self._pieces = decoded(self._source, rate)
        self._turn = threading.Lock()

    async def next(self) -> bytes:
        """Empty at the end."""
        return await in_thread(self._next, self._source.abandon)

    def close(self) -> None:
        """Waits for a piece that is being decoded, which ends at once."""
        self._source.abandon()
        with self._turn:
            self._pieces.close()

    def _next(self) -> bytes:
        with self._turn:
            return next(self._pieces, b"")


class Source:
    """The file as FFmpeg reads it. It has no name, which FFmpeg would take as a hint."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._abandoned = False
        file.seek(0)

    def read(self, size: int) -> bytes:
        return b"" if self._abandoned else self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def abandon(self) -> None:
        """For whoever reads now, the file ends here: a search through it does not go on for nobody."""
        self._abandoned = True

    def head(self) -> bytes:
        self._file.seek(0)
        return self._file.read(HEAD_BYTES)


def decoded(source: Source, rate: int) -> Pieces:
    """Pieces of half a second, the last one shorter. Raises `BadRequest`: at once if nothing can be heard, or later
    where the file breaks. Frees everything when it is closed."""
    with _container(source) as container:
        heard = False
        for piece in _resampled(_frames(container, _sound(container)), rate):
            heard = True
            yield piece
    if not heard:
        raise invalid_audio(f"no sound can be decoded from it; it is {told(source.head())}")


def _container(source: Source) -> "InputContainer":
    # Imported here: every process of the server imports this module, and only an ingress decodes.
    import av

    try:
        return av.open(
            source,
            "r",
            container_options={"format_whitelist": DEMUXERS, "codec_whitelist": _audio_codecs()},
            # Tags in old encodings are nobody's concern here.
            metadata_errors="replace",
            io_open=_refuse_to_open,
        )
    except (av.FFmpegError, ValueError) as error:
        raise invalid_audio(f"it is {told(source.head())}") from error


@cache
def _audio_codecs() -> str:
    import av

    return ",".join(sorted(name for name in av.codecs_available if _decodes_sound(name)))


def _decodes_sound(name: str) -> bool:
    import av

    try:
        return av.Codec(name, "r").type == "audio"
    except ValueError:
        return False


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise invalid_audio("it refers to other files, which are not read")


def _sound(container: "InputContainer") -> "AudioStream":
    """The stream that a player would play."""
    import av

    stream = container.streams.best("audio")
    # A stream whose coding has no decoder has no context.
    if not isinstance(stream, av.AudioStream) or stream.codec_context is None:
        found = sorted({one.type for one in container.streams})
        if "audio" in found:
            raise invalid_audio("its sound is in a coding that is not known here")
        raise invalid_audio(f"it holds no sound that can be decoded, only {', '.join(found) or 'nothing'}")
    stream.codec_context.thread_count = 1
    return stream


def _frames(container: "InputContainer", stream: "AudioStream") -> "Generator[AudioFrame, None, None]":
    """Until the file ends, or breaks off. Raises `BadRequest` if it goes on, but not as sound."""
    import av

    packets = container.demux(stream)
    bad_ones = 0
    while bad_ones <= MOST_BAD:
        try:
            frames = next(packets).decode()
        except (StopIteration, av.EOFError):
            return
        except av.FFmpegError:
            bad_ones += 1
            # A generator that has raised is over; where the file goes on, a new one does.
            packets = container.demux(stream)
            continue
        bad_ones = 0
        yield from (frame for frame in frames if frame.samples and frame.sample_rate)
    raise invalid_audio("its sound is broken")


def _resampled(frames: "Generator[AudioFrame, None, None]", rate: int) -> Pieces:
    """A file may change its rate or its channels in the middle: what comes then is resampled anew."""
    resampler, shape = _resampler(rate), None
    for frame in frames:
        new_shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape not in (None, new_shape):
            yield from map(_bytes, resampler.resample(None))
            resampler = _resampler(rate)
        shape = new_shape
        yield from map(_bytes, _mixed(resampler, frame))
    yield from map(_bytes, resampler.resample(None))


def _mixed(resampler: "AudioResampler", frame: "AudioFrame") -> "list[AudioFrame]":
    """Mono. Raises `BadRequest` for a rate at which nobody records, or channels that stand nobody knows where."""
    import av

    if not LOWEST_HZ <= frame.sample_rate <= HIGHEST_HZ:
        raise invalid_audio(f"its rate is {frame.sample_rate} Hz, which is not from {LOWEST_HZ} to {HIGHEST_HZ}")
    try:
        return resampler.resample(frame)
    except av.FFmpegError as error:
        raise invalid_audio(f"its {frame.layout.nb_channels} channels cannot be mixed into one") from error


def _resampler(rate: int) -> "AudioResampler":
    import av

    return av.AudioResampler(format="s16", layout="mono", rate=rate, frame_size=rate // PIECES_A_SECOND)


def _bytes(frame: "AudioFrame") -> bytes:
    # A plane may be longer than its samples.
    return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]


def invalid_audio(why: str) -> BadRequest:
    message = f"The file cannot be used as audio: {why}. Formats that can be: {FORMATS}."
    return BadRequest(400, message, "invalid_audio", "file")


def too_long(longest_s: float) -> BadRequest:
    """Days of silence are a small file."""
    message = f"The audio is longer than max_audio_s ({longest_s:g} s); send it in parts."
    return BadRequest(400, message, "audio_too_long", "file")
