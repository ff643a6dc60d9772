"""Live audio to 16 kHz: tones keep their shape, whatever the pieces; G.711 by its own definition."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from providers.asr.recognizer import SAMPLE_RATE
from serve_app.audio.pcm import ALAW, PCM_RATES, ULAW, AudioFormat, Converter, Encoding

AMPLITUDE = 16_000
EDGE = SAMPLE_RATE // 40
FORMATS = [
    *(AudioFormat(Encoding.PCM, rate) for rate in PCM_RATES),
    AudioFormat(Encoding.ULAW, 8000),
    AudioFormat(Encoding.ALAW, 8000),
]
Floats = NDArray[np.float64]


def tone(rate: int, hz: float, seconds: float = 1.0) -> Floats:
    return AMPLITUDE * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def pcm(samples: Floats) -> bytes:
    raw: bytes = np.rint(samples).astype("<i2").tobytes()
    return raw


def samples_of(raw: bytes) -> Floats:
    return np.frombuffer(raw, "<i2").astype(float)


def encoded(samples: Floats, source: AudioFormat) -> bytes:
    """G.711 by the nearest of its levels."""
    if source.encoding is Encoding.PCM:
        return pcm(samples)
    table = ULAW if source.encoding is Encoding.ULAW else ALAW
    return bytes(np.abs(samples[:, None] - table[None, :]).argmin(axis=1).tolist())


def whole(raw: bytes, source: AudioFormat) -> Floats:
    converter = Converter(source)
    return samples_of(converter.feed(raw) + converter.finish())


def snr_db(got: Floats, expected: Floats) -> float:
    """But for the ends, where the tone begins and stops out of nothing."""
    error = (got - expected)[EDGE:-EDGE]
    return float(10 * np.log10((expected[EDGE:-EDGE] ** 2).mean() / (error**2).mean()))


@pytest.mark.parametrize(
    ("rate", "hz"), [(rate, hz) for rate in PCM_RATES for hz in (100, 440, 1000, 3000, 6500) if hz < rate * 0.4]
)
def test_a_tone_stays_that_tone_at_its_time(rate: int, hz: int) -> None:
    got = whole(pcm(tone(rate, hz)), AudioFormat(Encoding.PCM, rate))
    assert len(got) == SAMPLE_RATE
    assert snr_db(got, tone(SAMPLE_RATE, hz)) > 80


@pytest.mark.parametrize("source", FORMATS[-2:], ids=lambda source: source.encoding.value)
def test_telephone_audio_is_as_good_as_its_code(source: AudioFormat) -> None:
    got = whole(encoded(tone(8000, 440), source), source)
    assert snr_db(got, tone(SAMPLE_RATE, 440)) > 35


@pytest.mark.parametrize("rate", [24_000, 48_000])
@pytest.mark.parametrize("hz", [8_500, 9_500, 11_000])
def test_what_16_khz_cannot_hold_does_not_fold_back(rate: int, hz: int) -> None:
    got = whole(pcm(tone(rate, hz)), AudioFormat(Encoding.PCM, rate))[EDGE:-EDGE]
    assert np.abs(got).max() < AMPLITUDE / 1000


@given(
    source=st.sampled_from(FORMATS),
    cuts=st.lists(st.integers(1, 4000), max_size=12),
    hz=st.floats(50, 3000),
    length=st.integers(0, 9000),
)
def test_pieces_leave_no_trace(source: AudioFormat, cuts: list[int], hz: float, length: int) -> None:
    raw = encoded(tone(source.rate, hz, 2.0)[:length], source)
    converter, parts, at = Converter(source), [], 0
    for cut in cuts:
        parts.append(converter.feed(raw[at : at + cut * source.sample_bytes]))
        at += cut * source.sample_bytes
    parts += [converter.feed(raw[at:]), converter.finish()]
    got, expected = samples_of(b"".join(parts)), whole(raw, source)
    assert len(got) == len(expected) == -(-length * SAMPLE_RATE // source.rate)
    # Sums in another order may round to the other side.
    assert len(got) == 0 or np.abs(got - expected).max() <= 1


def test_little_is_held_back() -> None:
    for source in FORMATS:
        given_s = 0.1
        out = Converter(source).feed(encoded(tone(source.rate, 440, given_s), source))
        assert 0 <= given_s - len(out) / 2 / SAMPLE_RATE < 0.005


def test_the_loudest_is_clipped_and_does_not_wrap() -> None:
    got = whole(np.repeat(np.array([32767, -32768] * 20, "<i2"), 60).tobytes(), AudioFormat(Encoding.PCM, 24_000))
    assert np.array_equal(np.sign(got[20::40]), np.array([1.0, -1.0] * 20))
    assert (got.max(), got.min()) == (32767, -32768)


def test_16_khz_passes_untouched() -> None:
    raw = bytes(range(256))
    assert Converter(AudioFormat(Encoding.PCM, SAMPLE_RATE)).feed(raw) is raw


@pytest.mark.parametrize("rate", PCM_RATES)
def test_half_a_sample_is_refused(rate: int) -> None:
    with pytest.raises(ValueError):
        Converter(AudioFormat(Encoding.PCM, rate)).feed(b"\0\0\0")


def test_telephone_codes_are_those_of_the_standard() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and gone with Python 3.13
        import audioop
    codes = bytes(range(256))
    assert np.array_equal(ULAW, samples_of(audioop.ulaw2lin(codes, 2)))
    assert np.array_equal(ALAW, samples_of(audioop.alaw2lin(codes, 2)))
