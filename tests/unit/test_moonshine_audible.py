"""Where in a piece somebody speaks, however the audio comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.recognizer import SAMPLE_RATE, Samples, Word
from providers.moonshine.audible import FRAME, Audible, within
from providers.tiny.tones import WORD_S, tones


def bounds(*parts: Samples) -> tuple[float, float]:
    audible = Audible()
    for part in parts:
        audible.feed(part)
    return audible.bounds_s()


@given(
    st.integers(0, 8000),
    st.integers(0, 8000),
    st.sampled_from([0.01, 0.5]),
    st.lists(st.integers(0, 25_000), max_size=8),
)
def test_speech_is_found_within_a_frame(before: int, after: int, loudness: float, cuts: list[int]) -> None:
    samples = tones(["alpha"], before_s=before / SAMPLE_RATE, after_s=after / SAMPLE_RATE, loudness=loudness)
    start_s, end_s = bounds(*np.split(samples, sorted(cut for cut in cuts if cut < len(samples))))
    frame_s = FRAME / SAMPLE_RATE
    assert abs(start_s - before / SAMPLE_RATE) < frame_s
    assert abs(end_s - before / SAMPLE_RATE - WORD_S) < frame_s
    assert end_s <= len(samples) / SAMPLE_RATE


@pytest.mark.parametrize("samples", [0, 1, 16_001])
def test_of_silence_all_is_taken(samples: int) -> None:
    assert bounds(np.zeros(samples, np.float32)) == (0.0, samples / SAMPLE_RATE)


def test_noise_takes_nothing_away() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert bounds(noise + tones(["alpha"], before_s=0.5, after_s=0.26)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(0.0, 0.9, (0.4, 0.9)), (0.5, 1.4, (0.5, 1.0)), (0.5, 0.6, (0.5, 0.6)), (0.0, 0.2, (0.4, 0.4))],
)
def test_a_word_lies_within_what_is_audible(start_s: float, end_s: float, expected: tuple[float, float]) -> None:
    word = within(Word(" golf ", start_s, end_s, 0.7), 0.4, 1.0)
    assert (word.text, word.probability) == ("golf", 0.7)
    assert (word.start_s, word.end_s) == expected
