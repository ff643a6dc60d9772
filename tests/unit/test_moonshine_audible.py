"""Where in a piece somebody speaks, however the audio comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.asr.recognizer import SAMPLE_RATE, Samples
from providers.moonshine.audible import FRAME, Audible
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
