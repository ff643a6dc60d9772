"""The tiny Kokoro's files, and what its graph computes; tests/integration/test_kokoro.py has it speak."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from providers.kokoro.names import VOICE_NAMES
from providers.tiny.kokoro import LOUDNESS, PHONEME_S, hertz, make_kokoro, styles
from providers.tiny.weights import FloatArray
from tests.support.pitch import pitch

RATE = 24_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-kokoro"
    make_kokoro(folder)
    return folder


def computed(folder: Path, tokens: list[int], style: FloatArray, speed: float = 1.0) -> list[FloatArray]:
    session = onnxruntime.InferenceSession(folder / "kokoro-v1.0.onnx", providers=["CPUExecutionProvider"])
    given = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": style.reshape(1, 256),
        "speed": np.array([speed], np.float32),
    }
    outputs: list[FloatArray] = session.run(["audio", "duration"], given)
    return outputs


def test_files_are_small_and_always_the_same(tiny: Path, tmp_path: Path) -> None:
    make_kokoro(tmp_path)
    files = {path.name: path.read_bytes() for path in tiny.iterdir()}
    assert set(files) == {"kokoro-v1.0.onnx", "voices-v1.0.bin"}
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sum(map(len, files.values())) < 400_000


def test_voices_are_shaped_as_the_real_ones(tiny: Path) -> None:
    with np.load(tiny / "voices-v1.0.bin", allow_pickle=False) as file:
        assert sorted(file.files) == sorted(VOICE_NAMES) and len(file.files) == 54
        assert {(file[name].shape, str(file[name].dtype)) for name in file.files} == {((510, 1, 256), "float32")}
        assert len({hashlib.sha256(file[name].tobytes()).digest() for name in file.files}) == 54


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.7, 2.0])
def test_each_phoneme_is_a_tone(tiny: Path, speed: float) -> None:
    style = styles()["af_bella"][0]
    tokens = [43, 16, 177, 1]
    audio, duration = computed(tiny, tokens, style, speed)
    each = round(PHONEME_S * RATE / speed)
    assert duration.tolist() == [each] * 6 and len(audio) == 6 * each
    parts = audio.reshape(6, each)
    assert not parts[[0, 2, 5]].any()
    for token, part in zip((43, 177, 1), parts[[1, 3, 4]], strict=True):
        assert pitch(part, RATE) == pytest.approx(hertz(token, style), abs=1.5)
        assert np.abs(part).max() == pytest.approx(LOUDNESS, rel=0.02)


def test_voices_are_told_apart(tiny: Path) -> None:
    heard = [pitch(computed(tiny, [80], style[0])[0][1800:3600], RATE) for style in styles().values()]
    assert np.diff(heard).min() > 3
