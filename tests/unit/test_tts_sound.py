"""What a model computes, made fit to be joined."""

import numpy as np
import pytest

from providers.tts.pipeline_sound import FADE_S, MARGIN_S, pcm, silence
from providers.tts.synthesizer import Samples
from tests.support.tts_bench import samples_of

RATE = 24_000


def tone(seconds: float, loudness: float = 0.5) -> Samples:
    made: Samples = (loudness * np.cos(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    return made


def quiet(seconds: float, loudness: float = 0.0) -> Samples:
    return tone(seconds, loudness)


@pytest.mark.parametrize(("before_s", "after_s"), [(0.5, 0.5), (0.0, 1.0), (1.0, 0.02)])
@pytest.mark.parametrize("hum", [0.0, 0.001])
def test_silence_around_is_cut_off_and_what_is_within_is_not(before_s: float, after_s: float, hum: float) -> None:
    spoken = np.concatenate((tone(0.2), quiet(0.3, hum), tone(0.2)))
    sound = samples_of(pcm(np.concatenate((quiet(before_s, hum), spoken, quiet(after_s, hum))), RATE))
    margins_s = min(before_s, MARGIN_S) + min(after_s, MARGIN_S)
    assert len(sound) == pytest.approx((0.7 + margins_s) * RATE, abs=RATE * 0.001)


def test_it_begins_and_ends_at_zero_and_is_the_same_between() -> None:
    given = tone(0.2)
    sound = samples_of(pcm(given, RATE))
    fade = round(FADE_S * RATE)
    assert abs(sound[0]) < 0.01 and abs(sound[-1]) < 0.01
    np.testing.assert_allclose(sound[fade:-fade], given[fade:-fade], atol=1e-4)


def test_what_is_too_loud_is_turned_down_and_not_bent() -> None:
    fade = round(FADE_S * RATE)
    loud = samples_of(pcm(tone(0.2, 1.6), RATE))[fade:-fade]
    np.testing.assert_allclose(loud, tone(0.2, 1.0)[fade:-fade], atol=1e-3)
    click = tone(0.2)
    click[2400] = -50
    sound = samples_of(pcm(click, RATE))
    assert sound.min() == -1 and np.abs(np.delete(sound, 2400)).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("samples", [np.empty(0, np.float32), quiet(1), quiet(1, 5e-5)])
def test_silence_is_nothing(samples: Samples) -> None:
    assert pcm(samples, RATE) == b""


def test_very_short_ones_stay() -> None:
    for count in (1, 2, 3):
        assert len(pcm(np.full(count, 0.5, np.float32), RATE)) == 2 * count


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_an_error(wrong: float) -> None:
    broken = tone(0.1)
    broken[7] = wrong
    with pytest.raises(ValueError, match="no numbers"):
        pcm(broken, RATE)


def test_silence_has_whole_samples() -> None:
    assert silence(0.25, RATE) == bytes(12_000) and silence(0.00003, RATE) == bytes(2) and silence(0, RATE) == b""
