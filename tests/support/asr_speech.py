"""Real speech, 16 kHz, as the package moonshine-voice ships it."""

import importlib.util
import wave
from pathlib import Path

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Samples


def speech(name: str) -> Samples:
    """`beckett` or `two_cities`."""
    found = importlib.util.find_spec("moonshine_voice")
    assert found is not None and found.submodule_search_locations
    with wave.open(str(Path(found.submodule_search_locations[0], "assets", f"{name}.wav"))) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels).mean(axis=1) / 32768
    step, rest = divmod(rate, SAMPLE_RATE)
    assert not rest
    # Means of neighbours: good enough for telling speech from silence.
    whole: Samples = samples[: len(samples) // step * step].reshape(-1, step).mean(axis=1).astype(np.float32)
    return whole
