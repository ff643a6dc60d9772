"""Speech told from silence: real speech at known places."""

import importlib.util
import subprocess
import sys
import threading
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from providers.asr import voice
from providers.asr.recognizer import SAMPLE_RATE, Samples
from providers.asr.voice import FRAME, LevelDetector, SileroModel, VoiceDetector, detectors
from providers.errors import ProviderError
from tests.support.asr_speech import speech


@pytest.fixture(scope="module")
def silero() -> SileroModel:
    return SileroModel()


def noise(seconds: float, loudness: float) -> Samples:
    drawn: Samples = np.random.default_rng(0).normal(0, loudness, round(seconds * SAMPLE_RATE)).astype(np.float32)
    return drawn


def tone(dbfs: float, seconds: float = 1.0) -> Samples:
    """By its root mean square."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    made: Samples = (np.sqrt(2) * 10 ** (dbfs / 20) * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    return made


def test_silero_finds_speech_between_noise(silero: SileroModel) -> None:
    audio = np.concatenate((noise(3, 0.003), speech("beckett"), noise(3, 0.003)))
    frames = silero.detector().feed(audio)
    spoken = np.nonzero(frames > 0.5)[0] * FRAME / SAMPLE_RATE
    # The speaker begins 0.3 s into the file and ends 1.1 s before its end.
    assert spoken[0] == pytest.approx(3.3, abs=0.2)
    assert spoken[-1] == pytest.approx(3 + 8.8, abs=0.2)
    assert np.mean(frames[: 3 * SAMPLE_RATE // FRAME] > 0.35) == 0


@pytest.mark.parametrize("chunk", [1, 100, 511, 512, 513, 16_384, 10**9])
def test_chunks_of_any_size_give_the_same(silero: SileroModel, chunk: int) -> None:
    audio = speech("beckett")[: 2 * SAMPLE_RATE]
    whole = silero.detector().feed(audio)
    assert len(whole) == len(audio) // FRAME
    detector = silero.detector()
    parts = [detector.feed(audio[at : at + chunk]) for at in range(0, len(audio), chunk)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_detectors_of_one_model_do_not_disturb_each_other(silero: SileroModel) -> None:
    audio = [speech("beckett")[at * SAMPLE_RATE : (at + 4) * SAMPLE_RATE] for at in range(4)]
    alone = [silero.detector().feed(one) for one in audio]
    found: list[Samples] = [np.empty(0, np.float32)] * 4

    def hear(order: int) -> None:
        detector = silero.detector()
        parts = [detector.feed(audio[order][at : at + 777]) for at in range(0, len(audio[order]), 777)]
        found[order] = np.concatenate(parts)

    threads = [threading.Thread(target=hear, args=(order,)) for order in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("dbfs", "level"), [(-70, 0), (-60, 0), (-50, 0.25), (-40, 0.5), (-20, 1), (-3, 1)])
def test_a_level_is_loudness(dbfs: float, level: float) -> None:
    np.testing.assert_allclose(LevelDetector().feed(tone(dbfs)), level, atol=0.01)


def test_digital_silence_has_no_level() -> None:
    assert not LevelDetector().feed(np.zeros(FRAME * 3, np.float32)).any()


@pytest.mark.parametrize("detector", [LevelDetector, lambda: SileroModel().detector()])
def test_less_than_a_frame_tells_nothing(detector: type[VoiceDetector]) -> None:
    assert len(detector().feed(np.zeros(FRAME - 1, np.float32))) == 0


def test_the_library_that_ships_the_model_is_not_imported() -> None:
    code = "import sys, providers.asr.voice as v; v.detectors('silero'); print('faster_whisper' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_model_that_is_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(ProviderError, match="voice_detector: level"):
        voice.silero_file()
    detectors("level")
