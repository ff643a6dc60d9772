"""Files of sound, whole, broken and hostile, on real containers and codecs."""

import asyncio
import contextlib
import gc
import io
import os
import resource
import struct
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from providers.asr.recognizer import SAMPLE_RATE
from serve_app.audio.decode import FORMATS, PIECE_SAMPLES, Source, opened
from serve_app.errors import BadRequest
from tests.support.audio_files import (
    TONE_HZ,
    film_file,
    loudest_hz,
    picture_file,
    samples_of,
    sound_file,
    tone,
    write_long_wav,
)

PATIENCE_S = 60.0
FRAME_S = 0.048
"""The longest frame of a codec here, by which a file may be longer than its sound (MP3 at 24 kHz)."""

CONTAINERS = [
    ("wav", "pcm_s16le", 44_100),
    ("wav", "pcm_s24le", 48_000),
    ("wav", "pcm_f32le", 48_000),
    ("wav", "pcm_u8", 11_025),
    ("wav", "pcm_mulaw", 8_000),
    ("aiff", "pcm_s16be", 44_100),
    ("mp3", "libmp3lame", 44_100),
    ("mp4", "aac", 44_100),
    ("ipod", "aac", 48_000),
    ("ipod", "alac", 48_000),
    ("mov", "aac", 48_000),
    ("3gp", "aac", 32_000),
    ("ogg", "libopus", 48_000),
    ("ogg", "flac", 48_000),
    ("opus", "libopus", 48_000),
    ("flac", "flac", 44_100),
    ("webm", "libopus", 48_000),
    ("matroska", "pcm_s16le", 48_000),
    ("adts", "aac", 48_000),
    ("amr", "libopencore_amrnb", 8_000),
    ("mpeg", "mp2", 48_000),
]
RATES_AND_LAYOUTS = ((48_000, "mono"), (24_000, "stereo"), (44_100, "mono"))


async def pieces_of(file: IO[bytes]) -> list[bytes]:
    async with asyncio.timeout(PATIENCE_S), opened(file) as audio:
        return [piece async for piece in audio.pieces()]


async def heard(content: bytes) -> np.typing.NDArray[np.float32]:
    return samples_of(await pieces_of(io.BytesIO(content)))


async def refusal(content: bytes) -> str:
    with pytest.raises(BadRequest) as refused:
        await heard(content)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_audio", "file")
    assert FORMATS in refused.value.message
    return refused.value.message


def assert_is_the_tone(samples: np.typing.NDArray[np.float32], seconds: float, loudness: float = 0.5) -> None:
    assert 0 <= len(samples) / SAMPLE_RATE - seconds <= 2 * FRAME_S
    middle = samples[SAMPLE_RATE // 4 : SAMPLE_RATE * 5 // 4]
    assert abs(loudest_hz(middle) - TONE_HZ) < 2
    assert abs(float(np.max(np.abs(middle))) - loudness) < 0.06


@pytest.mark.parametrize(("container", "codec", "rate"), CONTAINERS)
async def test_every_container(container: str, codec: str, rate: int) -> None:
    assert_is_the_tone(await heard(sound_file(tone(1.5, rate), rate, container, codec)), 1.5)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [("webm", "libopus", {"live": "1"}), ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"})],
)
async def test_recorders_that_write_as_they_go(container: str, codec: str, options: dict[str, str]) -> None:
    """A browser's: no length is known when the file begins, and nothing is mended at its end."""
    content = sound_file(tone(1.5, 48_000), 48_000, container, codec, options=options)
    assert_is_the_tone(await heard(content), 1.5)


async def test_a_streamed_wav_tells_no_length() -> None:
    content = bytearray(sound_file(tone(1.5, 48_000), 48_000))
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff\xff\xff\xff"
    assert_is_the_tone(await heard(bytes(content)), 1.5)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 96_000])
async def test_every_rate_and_number_of_channels(rate: int, layout: str) -> None:
    samples = await heard(sound_file(tone(1.5, rate), rate, layout=layout))
    # 5.1 has a channel of low tones only, which is left out.
    assert_is_the_tone(samples, 1.5, 0.5 if layout != "5.1" else float(np.max(np.abs(samples[4000:20000]))))


async def test_samples_that_fit_already_are_the_same() -> None:
    given = tone(1.3, SAMPLE_RATE)
    assert np.max(np.abs(await heard(sound_file(given, SAMPLE_RATE)) - given)) < 1e-4


async def test_pieces_are_of_half_a_second() -> None:
    pieces = await pieces_of(io.BytesIO(sound_file(tone(1.2, 48_000), 48_000)))
    assert [len(piece) // 2 for piece in pieces] == [PIECE_SAMPLES, PIECE_SAMPLES, round(0.2 * SAMPLE_RATE)]


async def test_more_sound_than_is_allowed_is_refused_where_it_begins() -> None:
    file = io.BytesIO(sound_file(tone(2.0, 48_000), 48_000))
    async with opened(file, longest_s=2.0) as audio:
        assert len([piece async for piece in audio.pieces()]) == 4
    heard = 0
    async with opened(file, longest_s=1.9) as audio:
        with pytest.raises(BadRequest, match=r"longer than max_audio_s \(1\.9 s\)") as refused:
            async for piece in audio.pieces():
                heard += len(piece)
    assert (refused.value.status, refused.value.code) == (400, "audio_too_long")
    assert heard == 3 * PIECE_SAMPLES * 2


async def test_a_file_can_be_had_again_from_its_beginning() -> None:
    async with opened(io.BytesIO(sound_file(tone(1.2, 48_000), 48_000, "mp3", "libmp3lame"))) as audio:
        broken_off = audio.pieces()
        await anext(broken_off)
        await broken_off.aclose()
        first = [piece async for piece in audio.pieces()]
        assert first == [piece async for piece in audio.pieces()]
    assert_is_the_tone(samples_of(first), 1.2)


async def test_the_sound_of_a_film() -> None:
    assert_is_the_tone(await heard(sound_file(tone(1.5, 48_000), 48_000, "mp4", "aac", "stereo", picture=True)), 1.5)


async def test_a_file_that_changes_its_rate_goes_on() -> None:
    parts = [sound_file(tone(1.5, rate), rate, "adts", "aac", layout) for rate, layout in RATES_AND_LAYOUTS]
    samples = await heard(b"".join(parts))
    assert 0 <= len(samples) / SAMPLE_RATE - 3 * 1.5 < 6 * FRAME_S + 0.1
    for part in range(3):
        at = round((part * 1.55 + 0.3) * SAMPLE_RATE)
        assert abs(loudest_hz(samples[at : at + SAMPLE_RATE]) - TONE_HZ) < 2


async def test_tags_in_an_old_encoding() -> None:
    content = sound_file(tone(1.5, 44_100), 44_100, "mp3", "libmp3lame", tags={"title": "xxxx"})
    assert content.count(b"xxxx") == 1
    assert_is_the_tone(await heard(content.replace(b"xxxx", b"\xe9\xff\xfe\xe8")), 1.5)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus"), ("flac", "flac"), ("webm", "libopus")],
)
async def test_of_a_file_that_breaks_off_what_is_there_is_used(container: str, codec: str) -> None:
    content = sound_file(tone(8.0, 48_000), 48_000, container, codec)
    samples = await heard(content[: len(content) // 2])
    assert 2.5 < len(samples) / SAMPLE_RATE < 4.6
    assert abs(loudest_hz(samples[8000:32000]) - TONE_HZ) < 2


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("flac", "flac")])
async def test_what_is_broken_in_the_middle_is_skipped(container: str, codec: str) -> None:
    content = bytearray(sound_file(tone(8.0, 44_100), 44_100, container, codec))
    third = len(content) // 3
    content[third : third + 2000] = bytes(np.random.default_rng(1).bytes(2000))
    samples = await heard(bytes(content))
    assert 6.5 < len(samples) / SAMPLE_RATE < 8.2
    assert abs(loudest_hz(samples[-2 * SAMPLE_RATE : -SAMPLE_RATE]) - TONE_HZ) < 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"x", "text"),
        (b"This is no sound.\n" * 1000, "text"),
        ("Das ist kein Geräusch. ".encode() * 100, "text"),
        (picture_file("png"), "a PNG image"),
        (picture_file("mjpeg"), "a JPEG image"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 10, "a PDF document"),
        (b"\x01\x02\x03\x04" * 1000, "unknown; it begins with the bytes 01 02 03 04"),
        (sound_file(tone(1.0, 48_000), 48_000, "mp4", "aac")[:5000], "a broken MP4 file"),
        (sound_file(tone(1.0, 48_000), 48_000)[:78], "no sound can be decoded"),
        (sound_file(tone(1.0, 48_000), 48_000, "flac", "flac")[:60], "a broken FLAC file"),
        (film_file(), "only video"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_sound_is_refused(content: bytes, found: str) -> None:
    assert found in await refusal(content)


def wav_of(rate: int = SAMPLE_RATE, channels: int = 1, coding: int = 1) -> bytes:
    """A header that may say anything, and a second of 16 kHz silence in each channel."""
    data = bytes(2 * channels * SAMPLE_RATE)
    shape = struct.pack("<HHIIHH", coding, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16)
    chunks = b"WAVEfmt \x10\0\0\0" + shape + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize("rate", [1, 999, 768_001, 100_000_007, 2**31 - 1])
async def test_a_rate_at_which_nothing_is_recorded_is_refused(rate: int) -> None:
    """One of 100 MHz took gigabytes for the filter of its resampler, one of 1 Hz for its samples."""
    before = resident_peak_bytes()
    assert f"its rate is {rate} Hz" in await refusal(wav_of(rate))
    assert resident_peak_bytes() - before < 100_000_000


@pytest.mark.parametrize("channels", [9, 64, 255])
async def test_channels_of_no_known_arrangement_are_refused(channels: int) -> None:
    assert f"its {channels} channels cannot be mixed" in await refusal(wav_of(channels=channels))


async def test_a_coding_of_sound_that_nobody_knows_is_refused_as_such() -> None:
    assert "in a coding that is not known here" in await refusal(wav_of(coding=0x7777))


async def test_much_of_nothing_is_refused_at_once() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(200_000_000)
        with pytest.raises(BadRequest, match="nothing but zeros"):
            await pieces_of(file)
        assert file.tell() <= 10_000_000


class Bait:
    """A web server that notes whatever is asked of it."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sound.wav"


@pytest.fixture
def bait() -> Iterator[Bait]:
    made = Bait()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


LURES = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns={target}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="audio/wav"><Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "pls": "[playlist]\nFile1={target}\n",
    "plain": "{target}\n",
}


@pytest.mark.parametrize("kind", LURES)
async def test_a_file_leads_to_no_other_file_and_no_address(kind: str, bait: Bait, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sound_file(tone(1.0, 16_000), 16_000))
    opened_before = os.stat(secret).st_atime_ns
    for target in (bait.url, str(secret), f"file:{secret}", f"concat:{secret}"):
        await refusal(LURES[kind].format(target=target).encode())
    assert bait.asked == []
    assert os.stat(secret).st_atime_ns == opened_before


async def test_a_movie_whose_sound_lies_elsewhere_does_not_lead_there(tmp_path: Path) -> None:
    """QuickTime's data references: `alis` and `url ` boxes that name other files."""
    secret = tmp_path / "secret.mov"
    content = sound_file(tone(1.0, 48_000), 48_000, "mov", "pcm_s16le")
    secret.write_bytes(content)
    reference = b"url " + b"\x00\x00\x00\x01"
    assert content.count(reference) >= 1
    elsewhere = content.replace(reference, b"url " + b"\x00\x00\x00\x00")
    opened_before = os.stat(secret).st_atime_ns
    try:
        samples = await heard(elsewhere)
    except BadRequest:
        samples = np.zeros(0, np.float32)
    assert os.stat(secret).st_atime_ns == opened_before
    assert len(samples) <= 1.1 * SAMPLE_RATE


@pytest.mark.parametrize(("container", "codec", "rate"), CONTAINERS)
async def test_noise_in_a_file_is_survived(container: str, codec: str, rate: int) -> None:
    clean = sound_file(tone(0.5, rate), rate, container, codec)
    chance = np.random.default_rng(len(clean))
    for _ in range(8):
        content = bytearray(clean)
        for at in chance.integers(0, len(content), 20):
            content[at] = chance.integers(0, 256)
        try:
            await heard(bytes(content))
        except BadRequest as error:
            assert error.code == "invalid_audio"


async def test_a_long_file_takes_little_memory() -> None:
    with tempfile.TemporaryFile() as file:
        write_long_wav(file, 1800, 48_000)
        await pieces_of(io.BytesIO(sound_file(tone(1.0, 48_000), 48_000)))
        before, total = resident_bytes(), 0
        async with opened(file) as audio:
            async for piece in audio.pieces():
                total += len(piece)
        assert resident_bytes() - before < 30_000_000
    assert total == 1800 * SAMPLE_RATE * 2


async def nothing_is_left() -> None:
    # The loop, and the thread, hold on to the last result until they come to their next.
    async with asyncio.timeout(PATIENCE_S):
        while any(isinstance(one, Source) for one in gc.get_objects()):
            await asyncio.sleep(0.01)
            gc.collect()


def resident_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Slow(io.BytesIO):
    """Stands still where a reader is to be caught."""

    def __init__(self, content: bytes, stop_at: int) -> None:
        super().__init__(content)
        self.stop_at = stop_at
        self.reached, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.stop_at:
            self.reached.set()
            assert self.go_on.wait(PATIENCE_S)
        return super().read(size)


async def test_cancelled_in_the_middle_of_decoding_it_ends_and_frees_the_file() -> None:
    file = Slow(sound_file(tone(60.0, 16_000), 16_000), 1_000_000)
    task = asyncio.create_task(pieces_of(file))
    await asyncio.to_thread(file.reached.wait, PATIENCE_S)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    file.go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    await nothing_is_left()
    position = file.tell()
    await asyncio.sleep(0.05)
    assert file.tell() == position


async def test_nothing_is_left_of_a_file_that_was_read_or_refused() -> None:
    for content in (sound_file(tone(1.0, 16_000), 16_000), b"nothing", film_file()):
        with contextlib.suppress(BadRequest):
            await heard(content)
    await nothing_is_left()
