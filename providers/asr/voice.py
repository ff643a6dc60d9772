"""Telling speech from silence, frame by frame. A detector belongs to one session; the model behind it is shared."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from providers.asr.options import VoiceDetectorKind
from providers.asr.recognizer import Samples
from providers.errors import ProviderError

FRAME = 512
"""Samples, 32 ms: what one probability is about."""
CONTEXT = 64
STATE = 128
QUIETEST_DBFS = -60.0
LOUDEST_DBFS = -20.0

Probabilities = NDArray[np.float32]


class VoiceDetector(Protocol):
    def feed(self, samples: Samples) -> Probabilities:
        """How probable speech is, 0..1, for each frame that is now complete; the rest waits for more samples."""


def detectors(kind: VoiceDetectorKind) -> Callable[[], VoiceDetector]:
    """What makes a session's detector. Loads the model, for all of them. Raises `ProviderError` if it is not there."""
    return SileroModel().detector if kind == "silero" else LevelDetector


class _Frames:
    """Samples in pieces of any size to whole frames, one a row."""

    def __init__(self) -> None:
        self._rest = np.empty(0, np.float32)

    def feed(self, samples: Samples) -> NDArray[np.float32]:
        known = np.concatenate((self._rest, samples))
        whole = len(known) // FRAME * FRAME
        self._rest = known[whole:].copy()
        return known[:whole].reshape(-1, FRAME)


class LevelDetector:
    """Loudness taken for speech: -60 dBFS and less is 0, -20 dBFS and more is 1."""

    def __init__(self) -> None:
        self._frames = _Frames()

    def feed(self, samples: Samples) -> Probabilities:
        power = np.mean(self._frames.feed(samples) ** 2, axis=1)
        dbfs = 10 * np.log10(np.maximum(power, 1e-12))
        level: Probabilities = np.clip((dbfs - QUIETEST_DBFS) / (LOUDEST_DBFS - QUIETEST_DBFS), 0, 1)
        return level


class SileroModel:
    """Silero VAD v6 as faster-whisper ships it: https://github.com/snakers4/silero-vad"""

    def __init__(self) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(str(silero_file()), options, providers=["CPUExecutionProvider"])

    def detector(self) -> VoiceDetector:
        return _Silero(self)


class _Silero:
    def __init__(self, model: SileroModel) -> None:
        self._session = model.session
        self._frames = _Frames()
        self._context = np.zeros(CONTEXT, np.float32)
        self._hidden = np.zeros((1, 1, STATE), np.float32)
        self._cell = np.zeros((1, 1, STATE), np.float32)

    def feed(self, samples: Samples) -> Probabilities:
        frames = self._frames.feed(samples)
        if not len(frames):
            return np.empty(0, np.float32)
        before = np.concatenate((self._context[None], frames[:-1, -CONTEXT:]))
        given = {"input": np.concatenate((before, frames), axis=1), "h": self._hidden, "c": self._cell}
        speech, self._hidden, self._cell = self._session.run(None, given)
        self._context = frames[-1, -CONTEXT:].copy()
        probabilities: Probabilities = speech.reshape(-1)
        return probabilities


def silero_file() -> Path:
    # Importing the package would bring its whole library along.
    found = importlib.util.find_spec("faster_whisper")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "assets", "silero_vad_v6.onnx")
        if file.is_file():
            return file
    raise ProviderError(
        "The voice detector silero lies in the package faster-whisper, which is not installed or has another one. "
        "Install faster-whisper>=1.2,<2 or set voice_detector: level."
    )
