"""A slot on a tiny Whisper, which hears "hello world" in everything, and what it is given to hear."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment
from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.tiny.whisper import TRANSCRIPT, WORD_S
from providers.whisper.loading import load
from providers.whisper.options import WhisperSlot
from providers.whisper.recognizer import WhisperRecognizer

TEXT = " ".join(TRANSCRIPT)
WORDY = Asked(word_times=True)


class Loader:
    """Loads recognizers, and closes them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: list[WhisperRecognizer] = []

    def __call__(
        self,
        model: Path,
        device: Device = Device.CPU,
        capabilities: tuple[str, ...] = ("transcription",),
        requests: int = 2,
        **options: object,
    ) -> WhisperRecognizer:
        one = slot(capabilities, requests, **options)
        self._loaded.append(load(one, ModelFiles(model), placement(self._folder, device)))
        return self._loaded[-1]

    def close(self) -> None:
        for one in self._loaded:
            one.close()
            one.close()


def slot(capabilities: tuple[str, ...] = ("transcription",), requests: int = 2, **options: object) -> WhisperSlot:
    """What the tiny model hears are no voices: it skips nothing unless told to."""
    given = {"name": "s", "provider": "faster-whisper", "model": "m", "capabilities": capabilities}
    options = {"voice_detector": "level", "threads": 2} | options
    return WhisperSlot.model_validate(given | {"parallel_requests": requests, "options": options})


def placement(folder: Path, device: Device = Device.CPU, port: int = 0) -> Placement:
    return Placement(device, "127.0.0.1", port, "token", folder / "cache", cpu_threads=1)


def noise(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def heard(recognizer: WhisperRecognizer, seconds: float, asked: Asked = WORDY) -> list[Segment]:
    return list(recognizer.recognize(noise(seconds), asked))


def starts_s(segments: list[Segment]) -> list[float]:
    return [segment.start_s for segment in segments]


def check_words(segment: Segment, end_s: float | None = None) -> None:
    """They follow each other, as the segment does."""
    assert segment.text == TEXT and [word.text for word in segment.words] == list(TRANSCRIPT)
    for order, word in enumerate(segment.words):
        assert word.start_s == pytest.approx(segment.start_s + order * WORD_S, abs=0.021)
        assert word.end_s == pytest.approx(segment.start_s + (order + 1) * WORD_S, abs=0.041)
        assert word.probability == pytest.approx(1, abs=0.01)


def threads() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def settle(good: Callable[[], bool]) -> None:
    """A thread that has ended may be listed for a moment more."""
    deadline = time.monotonic() + 10
    while not good() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert good()
