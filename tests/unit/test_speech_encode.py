"""Each format, encoded piecemeal, is read again by FFmpeg at its strictest and by another library."""

import gc
import resource
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from serve_app.audio.encode import CODINGS, Coding, EncodingFailed, Format, Sink, encoder, wav_header
from tests.support.heard_file import Sound, adts_frames, by_ffmpeg, by_libsndfile, by_wave, samples_of

LOW, HIGH = 440.0, 1200.0
READERS: dict[Format, tuple[Callable[[bytes], Sound], ...]] = {
    Format.MP3: (by_ffmpeg, by_libsndfile),
    Format.OPUS: (by_ffmpeg, by_libsndfile),
    Format.AAC: (by_ffmpeg,),
    Format.FLAC: (by_ffmpeg, by_libsndfile),
    Format.WAV: (by_ffmpeg, by_libsndfile, by_wave),
    Format.PCM: (lambda data: Sound(samples_of(data), 24_000),),
}
SLACK_S = {Format.MP3: 0.09, Format.AAC: 0.12}
"""A codec's own delay, where the container cannot say how long it is. Others are exact, but for the resampler."""
each_format = pytest.mark.parametrize("format", list(Format))


def speech(rate: int, seconds: float = 2.0) -> bytes:
    """A low tone, then a high one."""
    times = np.arange(round(rate * seconds)) / rate
    wave = np.sin(2 * np.pi * np.where(times < seconds / 2, LOW, HIGH) * times)
    return (8000 * wave).astype("<i2").tobytes()


def encoded(format: Format, rate: int, pcm: bytes, piece_s: float = 0.1) -> bytes:
    return b"".join(pieces(format, rate, pcm, piece_s))


def pieces(format: Format, rate: int, pcm: bytes, piece_s: float) -> Iterator[bytes]:
    size = 2 * max(1, round(rate * piece_s))
    coder = encoder(format, rate)
    for start in range(0, len(pcm), size):
        yield coder.feed(pcm[start : start + size])
    yield coder.finish()
    coder.close()


@each_format
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 192_000])
def test_what_is_heard_is_what_was_said(format: Format, rate: int) -> None:
    data = encoded(format, rate, speech(rate))
    for read in READERS[format]:
        sound = read(data)
        assert sound.channels == 1
        assert 2.0 - 0.002 <= sound.seconds <= 2.0 + SLACK_S.get(format, 0.002)
        assert sound.tone(0.2, 0.8) == pytest.approx(LOW, abs=3)
        assert sound.tone(1.2, 1.8) == pytest.approx(HIGH, abs=3)
        assert sound.level(0.2, 1.8) == pytest.approx(8000 / 32768 / 2**0.5, rel=0.1)


def test_rates() -> None:
    def rate(format: Format, given: int) -> int:
        return by_ffmpeg(encoded(format, given, speech(given))).rate

    assert [rate(Format.MP3, given) for given in (24_000, 44_100, 11_025, 96_000)] == [24_000, 44_100, 24_000, 24_000]
    assert [rate(Format.AAC, given) for given in (24_000, 16_000, 8_000)] == [24_000, 16_000, 24_000]
    assert [rate(Format.OPUS, given) for given in (24_000, 44_100)] == [48_000, 48_000]
    assert [rate(Format.FLAC, given) for given in (24_000, 11_025)] == [24_000, 11_025]
    assert [rate(Format.WAV, given) for given in (24_000, 11_025)] == [24_000, 11_025]


@pytest.mark.parametrize("format", [Format.WAV, Format.FLAC])
def test_what_loses_nothing_is_exact(format: Format) -> None:
    pcm = speech(24_000)
    for read in READERS[format]:
        np.testing.assert_array_equal(read(encoded(format, 24_000, pcm)).samples, samples_of(pcm))


def test_pcm_is_the_samples() -> None:
    pcm = speech(24_000)
    assert encoded(Format.PCM, 24_000, pcm) == pcm


def test_a_streamed_wav_has_one_header_of_unknown_sizes() -> None:
    pcm = speech(24_000)
    data = encoded(Format.WAV, 24_000, pcm)
    assert data == wav_header(24_000) + pcm
    assert len(wav_header(24_000)) == 44
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"


def test_aac_is_frame_after_frame() -> None:
    frames = adts_frames(encoded(Format.AAC, 24_000, speech(24_000)))
    assert {(frame.rate, frame.channels) for frame in frames} == {(24_000, 1)}
    assert 48_000 <= len(frames) * 1024 <= 48_000 + 3 * 1024


@each_format
@pytest.mark.parametrize("samples", [480, 1151, 1153])
def test_the_shortest_speech_is_a_file(format: Format, samples: int) -> None:
    data = encoded(format, 24_000, speech(24_000)[: 2 * samples])
    for read in READERS[format]:
        assert read(data).seconds * 24_000 >= samples - 1


@each_format
@pytest.mark.parametrize("piece_s", [0.0001, 0.013, 1.0])
def test_it_does_not_matter_how_speech_is_cut(format: Format, piece_s: float) -> None:
    pcm = speech(24_000, 0.5)
    # The serial number of an Ogg stream is random: what is in it counts.
    for read in READERS[format]:
        whole, cut = read(encoded(format, 24_000, pcm, 9)), read(encoded(format, 24_000, pcm, piece_s))
        np.testing.assert_allclose(whole.samples, cut.samples, atol=1e-6)


@each_format
def test_little_is_held_back(format: Format) -> None:
    """A tenth of a second, of a sentence whose successor is still being thought of."""
    coder = encoder(format, 24_000)
    data = coder.feed(speech(24_000))
    for read in READERS[format]:
        assert read(data).seconds >= 1.9
    coder.close()


@each_format
def test_one_that_is_not_finished_is_closed(format: Format) -> None:
    coder = encoder(format, 24_000)
    coder.close()
    coder.feed(speech(24_000))
    coder.close()
    coder.close()


@pytest.mark.parametrize("format", [one for one in Format if one is not Format.PCM])
def test_nothing_said_is_no_error(format: Format) -> None:
    coder = encoder(format, 24_000)
    assert coder.finish() == (wav_header(24_000) if format is Format.WAV else b"")
    coder.close()


def test_an_encoder_that_this_ffmpeg_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODINGS, Format.MP3, Coding("mp3", "libshine_of_another_build", lambda rate: rate))
    with pytest.raises(EncodingFailed, match="mp3"):
        encoder(Format.MP3, 24_000).feed(speech(24_000))


def test_a_codec_that_refuses_its_settings_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODINGS, Format.MP3, Coding("mp3", "libmp3lame", lambda _: 96_000))
    with pytest.raises(EncodingFailed):
        encoder(Format.MP3, 24_000).feed(speech(24_000))


@pytest.mark.parametrize("format", CODINGS)
def test_a_sink_that_fails_is_told(format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    full = False

    def write(_self: Sink, data: bytes) -> int:
        if full:
            raise OSError("no more")
        return len(data)

    monkeypatch.setattr(Sink, "write", write)
    coder = encoder(format, 24_000)
    coder.feed(speech(24_000))
    full = True
    with pytest.raises(EncodingFailed, match="no more"):
        coder.feed(speech(24_000))
    coder.close()


@each_format
def test_long_speech_takes_no_memory(format: Format) -> None:
    piece = speech(24_000, 10.0)
    coder = encoder(format, 24_000)
    coder.feed(piece)
    # Samples of 60 pieces: 27 MiB.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(60):
        coder.feed(piece)
    coder.finish()
    coder.close()
    gc.collect()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12 * 1024


def test_damage_is_noticed() -> None:
    """What the tests above lean on. FFmpeg passes over frames that it does not recognise."""
    data = bytearray(encoded(Format.FLAC, 24_000, speech(24_000)))
    data[len(data) // 2] ^= 0xFF
    assert by_ffmpeg(bytes(data)).seconds < 1.99
    with pytest.raises(soundfile.LibsndfileError):
        by_libsndfile(bytes(data))
