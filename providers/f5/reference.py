"""What a voice is cloned from, made ready: its speech without what is around it, at F5-TTS's rate and loudness.

https://github.com/SWivid/F5-TTS/blob/main/src/f5_tts/infer/utils_infer.py (preprocess_ref_audio_text)
"""

import math
from dataclasses import dataclass

import numpy as np

from providers.errors import InvalidRequest
from providers.f5.excerpt import LONGEST_S, excerpt
from providers.f5.levels import FRAME, frame_levels, quiet_below
from providers.f5.mel import SAMPLE_RATE, Spectrum, spectrum
from providers.tts.synthesizer import Reference, Samples

SHORTEST_S = 1.0
FEWEST_BYTES_PER_S, MOST_BYTES_PER_S = 2.0, 100.0
"""Of a text and its sound. Nobody speaks outside of these, in any language, so that the two do not belong together."""
TARGET_RMS = 0.1
ENDING_S = 0.05
"""Silence after the speech."""
STOPS = (".", "。", "!", "?", "！", "？", "।", "؟", "…")


@dataclass(frozen=True, slots=True)
class Prepared:
    spectrum: Spectrum
    text: str
    """It ends as a sentence does."""
    seconds: float
    gain: float
    """What makes the reference as loud as it was: the model is given it louder, if it was faint."""

    @property
    def text_bytes(self) -> int:
        return len(self.text.encode())


def prepare(reference: Reference) -> Prepared:
    """Raises `InvalidRequest` for sound or a text that no voice can be cloned from."""
    text = " ".join(reference.text.split())
    if not any(one.isalnum() for one in text):
        raise _refused("has no transcript")
    speech, text = excerpt(_trimmed(_decoded(reference)), text)
    seconds = len(speech) / SAMPLE_RATE
    rate = len(text.encode()) / seconds
    if not FEWEST_BYTES_PER_S <= rate <= MOST_BYTES_PER_S:
        raise _refused(f"is {seconds:.1f} s of speech, which its transcript of {len(text)} characters cannot be")
    rms = float(np.sqrt(np.mean(np.square(speech))))
    gain = min(1.0, rms / TARGET_RMS)
    sound = np.concatenate([speech / gain, np.zeros(round(ENDING_S * SAMPLE_RATE), np.float32)])
    return Prepared(spectrum(sound.astype(np.float32)), _ended(text), len(sound) / SAMPLE_RATE, gain)


def _decoded(reference: Reference) -> Samples:
    samples: Samples = np.frombuffer(reference.pcm[: len(reference.pcm) // 2 * 2], "<i2").astype(np.float32)
    samples /= 32768
    if reference.rate == SAMPLE_RATE:
        return samples
    from scipy.signal import resample_poly  # type: ignore[import-untyped]

    common = math.gcd(SAMPLE_RATE, reference.rate)
    resampled: Samples = resample_poly(samples, SAMPLE_RATE // common, reference.rate // common).astype(np.float32)
    return resampled


def _trimmed(samples: Samples) -> Samples:
    levels = frame_levels(samples)
    heard = np.flatnonzero(levels >= quiet_below(levels))
    if len(heard) == 0:
        raise _refused("is silent")
    speech = samples[heard[0] * FRAME : (heard[-1] + 1) * FRAME]
    if len(speech) < SHORTEST_S * SAMPLE_RATE:
        raise _refused(f"is {len(speech) / SAMPLE_RATE:.1f} s of speech; it takes at least {SHORTEST_S:g} s")
    return speech


def _ended(text: str) -> str:
    return f"{text} " if text.endswith(STOPS) else f"{text}. "


def _refused(why: str) -> InvalidRequest:
    advice = f"a voice is cloned from {SHORTEST_S:g} to {LONGEST_S:g} s of one person's speech, and what is said in it"
    return InvalidRequest(f"The voice's recording {why}; {advice}.", "voice", "invalid_reference")
