"""What a voice is cloned from, made ready for F5-TTS."""

import math

import numpy as np
import pytest

from providers.errors import InvalidRequest
from providers.f5.excerpt import LONGEST_S, excerpt
from providers.f5.mel import FAINTEST, HOP, SAMPLE_RATE, WINDOW, spectrum
from providers.f5.reference import ENDING_S, TARGET_RMS, prepare
from providers.f5.references import MOST, References
from providers.f5.shape import BANDS
from providers.tts.synthesizer import Samples
from tests.support.f5_child import told, voice


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def band_of(frequency: float) -> int:
    """Bands are even on the mel scale, from 0 Hz on, and half of two steps wide."""
    share = math.log10(1 + frequency / 700) / math.log10(1 + SAMPLE_RATE / 2 / 700)
    return round(share * (BANDS + 1)) - 1


@pytest.mark.parametrize("frequency", [300, 1000, 4000, 9000])
def test_a_tone_is_in_its_band(frequency: float) -> None:
    found = spectrum(voice(1, frequency))
    assert found.dtype == np.float32 and found.shape == (SAMPLE_RATE // HOP + 1, BANDS)
    assert abs(int(found.mean(axis=0).argmax()) - band_of(frequency)) <= 1


def test_one_frame_is_the_transform_by_hand() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * WINDOW).astype(np.float32)
    number = 8
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    part = samples[number * HOP - WINDOW // 2 :][:WINDOW] * window
    turns = np.exp(-2j * np.pi * np.outer(np.arange(WINDOW // 2 + 1), np.arange(WINDOW)) / WINDOW)
    magnitudes = np.abs(turns @ part)
    frequencies = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), BANDS + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    for band in (0, 20, 99):
        weights = np.interp(frequencies, corners[band : band + 3], [0, 1, 0], 0, 0)
        expected = np.log(max(float(weights @ magnitudes), FAINTEST))
        assert spectrum(samples)[number, band] == pytest.approx(expected, abs=1e-4)


def test_silence_around_speech_is_cut_off_and_speech_is_made_loud() -> None:
    alone = prepare(told(voice(3, loudness=0.02)))
    around = prepare(told(np.concatenate([silence(1), voice(3, loudness=0.02), silence(2)])))
    assert alone.seconds == pytest.approx(3 + ENDING_S, abs=0.02)
    assert around.seconds == pytest.approx(alone.seconds, abs=0.02)
    rms = float(np.sqrt(np.mean(np.square(voice(3, loudness=0.02)))))
    assert alone.gain == pytest.approx(rms / TARGET_RMS, rel=0.02)
    assert prepare(told(voice(3, loudness=0.9))).gain == 1


def test_faint_speech_is_speech() -> None:
    faint = np.concatenate([silence(1), voice(3, loudness=0.006)])
    assert prepare(told(faint)).seconds == pytest.approx(3 + ENDING_S, abs=0.02)


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("What is said", "What is said. "),
        (" What\n is  said. ", "What is said. "),
        ("What is said?", "What is said? "),
        ("说了什么。", "说了什么。 "),
    ],
)
def test_a_transcript_ends_as_a_sentence(text: str, ended: str) -> None:
    assert prepare(told(text=text)).text == ended


@pytest.mark.parametrize(
    ("sound", "text", "why"),
    [
        (silence(3), "Nothing.", "is silent"),
        (silence(0), "Nothing.", "is silent"),
        (voice(0.004), "Nothing.", "is silent"),
        (voice(0.9), "Short.", "is 0.9 s of speech; it takes at least 1 s"),
        (voice(), " ", "has no transcript"),
        (voice(), "?!", "has no transcript"),
        (voice(), "word " * 100, "cannot be"),
        (voice(10), "word", "cannot be"),
    ],
)
def test_what_no_voice_can_be_cloned_from_is_refused(sound: Samples, text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        prepare(told(sound, text))
    assert (refused.value.param, refused.value.code) == ("voice", "invalid_reference")


def test_a_long_recording_ends_at_a_pause_and_its_transcript_with_it() -> None:
    # 5 s a clause, the third of them after the longest excerpt.
    sound = np.concatenate([voice(4.7), silence(0.3)] * 4)
    text = "The first of the clauses, here is the second one. And this is the third, with a fourth after."
    speech, said = excerpt(sound, text)
    assert said == "The first of the clauses, here is the second one."
    assert len(speech) / SAMPLE_RATE == pytest.approx(9.85, abs=0.05)


def test_a_long_recording_without_a_pause_is_cut_where_it_is_longest() -> None:
    speech, said = excerpt(voice(24), "one two three four five six seven eight")
    assert len(speech) == LONGEST_S * SAMPLE_RATE
    assert said == "one two three four"


def test_a_short_recording_is_taken_whole() -> None:
    sound = np.concatenate([voice(5), silence(0.5), voice(5)])
    speech, said = excerpt(sound, "All of it. Whole.")
    assert len(speech) == len(sound) and said == "All of it. Whole."


def test_recordings_are_made_ready_once_and_not_all_are_kept() -> None:
    references = References()
    first = references.prepared(told(text="Recording 0."))
    assert references.prepared(told(text="Recording 0.")) is first
    for number in range(1, MOST):
        references.prepared(told(text=f"Recording {number}."))
    assert references.prepared(told(text="Recording 0.")) is first
    references.prepared(told(text="One more."))
    assert len(references) == MOST
    # The one that was not asked for since is gone, the first is not.
    assert references.prepared(told(text="Recording 0.")) is first
    references.clear()
    assert len(references) == 0
    assert references.prepared(told(text="Recording 0.")) is not first


def test_a_reference_that_is_refused_is_not_kept() -> None:
    references = References()
    with pytest.raises(InvalidRequest):
        references.prepared(told(silence(3)))
    assert len(references) == 0
