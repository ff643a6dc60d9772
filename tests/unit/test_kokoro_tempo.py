"""Faster and slower speech: its length changes, its pitch does not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from providers.kokoro.tempo import shared, stretched
from tests.support.pitch import pitch

RATE = 24_000


def tone(hz: float, samples: int) -> NDArray[np.float32]:
    wave: NDArray[np.float32] = (0.3 * np.sin(2 * np.pi * hz * np.arange(samples) / RATE)).astype(np.float32)
    return wave


@pytest.mark.parametrize(
    ("speed", "own", "tempo"),
    [(0.25, 0.5, 0.5), (0.5, 0.5, 1), (1, 1, 1), (1.7, 1.7, 1), (2, 2, 1), (3, 2, 1.5), (4, 2, 2)],
)
def test_the_model_does_what_it_can(speed: float, own: float, tempo: float) -> None:
    assert shared(speed) == (own, tempo)


@pytest.mark.parametrize("tempo", [0.5, 0.7, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("hz", [90, 200, 1000, 4000])
def test_length_and_pitch(hz: float, tempo: float) -> None:
    made = stretched(tone(hz, RATE), tempo, RATE)
    assert made.dtype == np.float32 and len(made) == round(RATE / tempo)
    middle = made[len(made) // 4 : len(made) * 3 // 4]
    assert pitch(middle, RATE) == pytest.approx(hz, abs=3)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("tempo", [0.5, 1.0, 1.9])
@pytest.mark.parametrize("samples", [0, 1, 100, 1023, 5000, RATE * 40])
def test_any_length_comes_out_whole(samples: int, tempo: float) -> None:
    assert len(stretched(tone(500, samples), tempo, RATE)) == round(samples / tempo)


def test_what_comes_last_is_not_lost() -> None:
    """The filter keeps its last window to itself."""
    speech = np.concatenate((tone(400, RATE), tone(1200, RATE // 8)))
    for tempo in (0.5, 2.0):
        end = stretched(speech, tempo, RATE)[-round(RATE / 16 / tempo) :]
        assert pitch(end, RATE) == pytest.approx(1200, abs=20)


def test_what_is_given_is_left_as_it_is() -> None:
    given = tone(300, 4000)
    before = given.copy()
    stretched(given, 0.5, RATE)
    assert (given == before).all()
