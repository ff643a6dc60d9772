"""A loaded tiny Kokoro, and what is to be heard of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.kokoro.loading import load
from providers.kokoro.options import KokoroSlot
from providers.kokoro.synthesizer import KokoroSynthesizer
from providers.tiny.kokoro import PHONEME_S, SPACE, hertz
from providers.tiny.weights import FloatArray
from providers.tts.pipeline_sound import MARGIN_S, pcm
from providers.tts.synthesizer import Manner, Samples, Share
from tests.support.pitch import pitch

RATE = 24_000
MARGIN = round(MARGIN_S * RATE)


def slot(options: Mapping[str, object] | None = None, **given: object) -> KokoroSlot:
    usual = {"name": "tts", "provider": "kokoro", "model": "m", "capabilities": ["speech"], "options": options or {}}
    return KokoroSlot.model_validate(usual | given)


def placement(cache_dir: Path, device: Device = Device.CPU, threads: int = 1) -> Placement:
    return Placement(device, "127.0.0.1", 0, "token", cache_dir, cpu_threads=threads)


def loaded(folder: Path, device: Device = Device.CPU, threads: int = 1) -> KokoroSynthesizer:
    return load(slot(), ModelFiles(folder), placement(folder / "cache", device, threads))


def manner(*voices: str, speed: float = 1.0, language: str | None = None) -> Manner:
    return Manner(tuple(Share(voice, 1 / len(voices)) for voice in voices), speed=speed, language=language)


def spoken(synthesizer: KokoroSynthesizer, text: str, how: Manner) -> Samples:
    """As a client gets it, without what the pipeline leaves of the silence around."""
    samples = list(synthesizer.speak(text, how))
    if not samples:
        return np.zeros(0, np.float32)
    assert all(part.dtype == np.float32 and part.ndim == 1 for part in samples)
    heard = np.frombuffer(pcm(np.concatenate(samples), RATE), "<i2").astype(np.float32) / np.float32(32767)
    loud = np.flatnonzero(np.abs(heard) > 0.01)
    return heard[loud[0] : loud[-1] + 1]


def tones(samples: Samples, count: int) -> list[float]:
    """Hz of the middle of each of `count` equal parts; 0 for silence."""
    each = len(samples) / count
    middles = (samples[round((at + 0.2) * each) : round((at + 0.8) * each)] for at in range(count))
    return [pitch(part, RATE) if np.abs(part).max() > 0.02 else 0.0 for part in middles]


def expected(tokens: Iterable[int], style: FloatArray) -> list[float]:
    return [0.0 if token == SPACE else hertz(token, style) for token in tokens]


def length(tokens: int, speed: float = 1.0) -> float:
    """Samples."""
    return tokens * PHONEME_S * RATE / speed
