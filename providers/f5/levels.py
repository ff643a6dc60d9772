"""How loud a recording is from moment to moment, and what of it is no speech. Pure."""

import numpy as np
from numpy.typing import NDArray

from providers.f5.mel import SAMPLE_RATE
from providers.tts.synthesizer import Samples

FRAME_S = 0.01
FRAME = round(FRAME_S * SAMPLE_RATE)
SILENT_DB = -50.0
"""Of full scale. Nothing is heard below it."""
QUIET_DB, FAINT_DB = -42.0, 30.0
"""What is quieter than the one is no speech, unless all of the recording is faint: then speech is louder by the other
than what is between."""

Levels = NDArray[np.float32]


def frame_levels(samples: Samples) -> Levels:
    """In dB of full scale, of each `FRAME` of samples."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: Levels = (10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-12)).astype(np.float32)
    return levels


def quiet_below(levels: Levels) -> float:
    """What is no speech is quieter than this."""
    loudest = float(levels.max(initial=-np.inf))
    return np.inf if loudest < SILENT_DB else min(QUIET_DB, loudest - FAINT_DB)
