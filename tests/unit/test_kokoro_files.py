"""A Kokoro's files: where they are looked for, and what is said of those that are wrong."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from providers.base import ModelFiles
from providers.errors import ProviderError
from providers.kokoro.files import found
from providers.kokoro.styles import Styles
from providers.kokoro.voice_files import names_in
from providers.tts.synthesizer import Share

ONNX = b"\x08\x09"


def style(value: float, rows: int = 510) -> np.ndarray:
    return np.full((rows, 1, 256), value, np.float32)


def archive(path: Path, **voices: np.ndarray) -> Path:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **voices)
    return path


def test_a_folder_has_it_all(tmp_path: Path) -> None:
    (tmp_path / "kokoro-v1.0.onnx").write_bytes(ONNX)
    (tmp_path / "kokoro-v1.0.int8.onnx").write_bytes(ONNX)
    (tmp_path / "voices-v1.0.bin").write_bytes(b"PK")
    both = found(ModelFiles(tmp_path))
    assert (both.model.name, both.voices.name) == ("kokoro-v1.0.onnx", "voices-v1.0.bin")
    (tmp_path / "kokoro-v1.0.onnx").unlink()
    assert found(ModelFiles(tmp_path)).model.name == "kokoro-v1.0.int8.onnx"


def test_so_has_one_of_the_hubs(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "voices").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(ONNX)
    assert found(ModelFiles(tmp_path)).voices == tmp_path / "voices"


def test_a_companion_goes_before_what_is_beside(tmp_path: Path) -> None:
    (tmp_path / "my.onnx").write_bytes(ONNX)
    (tmp_path / "voices-v1.0.bin").write_bytes(b"PK")
    other = tmp_path / "other.bin"
    assert found(ModelFiles(tmp_path, {"voices": other})).voices == other
    assert found(ModelFiles(tmp_path / "my.onnx", {"voices": other})).model == tmp_path / "my.onnx"


@pytest.mark.parametrize(
    ("files", "main", "said"),
    [
        ({}, "", "has no model; a Kokoro is an ONNX file with companions.voices"),
        ({"a.onnx": ONNX, "b.onnx": ONNX}, "", r"has several models \(a.onnx, b.onnx\)"),
        ({"m.onnx": ONNX}, "", "comes without voices: companions.voices is missing"),
        ({"m.onnx": ONNX}, "m.onnx", "comes without voices: companions.voices is missing"),
        ({"m.onnx": b"", "voices.bin": b""}, "", "m.onnx is empty; remove the model and pull it again"),
        ({"m.onnx": b"GGUF\3", "voices.bin": b""}, "", "is a GGUF file, not an ONNX model"),
        ({"m.onnx": b"PK\3\4", "voices.bin": b""}, "", "is an archive of voices"),
        ({"m.onnx": b"<!DOCTYPE html>", "voices.bin": b""}, "", "is a web page"),
        ({"m.onnx": b"version https://git-lfs.github.com/spec/v1", "voices.bin": b""}, "", "without Git LFS"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, files: dict[str, bytes], main: str, said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ProviderError, match=said):
        found(ModelFiles(tmp_path / main))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="none.onnx is missing"):
        found(ModelFiles(tmp_path / "none.onnx", {"voices": tmp_path}))


def test_styles_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = archive(tmp_path / "v.bin", af_b=style(2), af_a=style(1))
    styles = Styles(path)
    assert styles.names == ("af_a", "af_b")
    assert styles.of("af_b").shape == (510, 1, 256) and styles.of("af_b")[3, 0, 7] == 2
    assert styles.of("af_b") is styles.of("af_b")
    with pytest.raises(KeyError):
        styles.of("af_c")


def test_a_folder_of_voices(tmp_path: Path) -> None:
    for name, value in (("af_a", 1.0), ("af_b", 2.0)):
        (tmp_path / f"{name}.bin").write_bytes(style(value, 511).astype("<f4").tobytes())
    (tmp_path / "README.md").write_text("voices")
    styles = Styles(tmp_path)
    assert styles.names == ("af_a", "af_b") and styles.of("af_b").shape == (511, 1, 256)
    assert styles.of("af_b").dtype == np.float32 and styles.of("af_b")[510, 0, 255] == 2


def test_a_blend_is_the_weighted_mean(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    voices = {name: random.standard_normal((510, 1, 256)).astype(np.float32) for name in ("af_a", "af_b", "af_c")}
    styles = Styles(archive(tmp_path / "v.bin", **voices))
    mixed = styles.blend([Share("af_a", 0.5), Share("af_c", 0.3), Share("af_b", 0.2)])
    assert mixed == pytest.approx(0.5 * voices["af_a"] + 0.3 * voices["af_c"] + 0.2 * voices["af_b"], abs=1e-6)
    assert styles.of("af_a") == pytest.approx(voices["af_a"]), "what is kept is not mixed into"
    assert styles.blend([Share("af_b", 1.0)]) is styles.of("af_b")


def test_voices_of_different_lengths_mix_as_far_as_both_go(tmp_path: Path) -> None:
    styles = Styles(archive(tmp_path / "v.bin", a=style(1, 510), b=style(3, 500)))
    assert styles.blend([Share("a", 0.5), Share("b", 0.5)]) == pytest.approx(style(2, 500))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is cut off"),
        (b"<html>", "is no archive of voices"),
        ("cut", "is cut off; remove the model and pull it again"),
        ("empty", "holds no voices"),
    ],
)
def test_an_archive_that_is_none(tmp_path: Path, content: bytes | str, said: str) -> None:
    path = tmp_path / "v.bin"
    if content == "cut":
        whole = archive(path, af_a=style(1)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "empty":
        zipfile.ZipFile(path, "w").close()
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(ProviderError, match=said):
        Styles(path)


def test_voices_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="none.bin is missing"):
        names_in(tmp_path / "none.bin")
    with pytest.raises(ProviderError, match="holds no voices"):
        names_in(tmp_path)


@pytest.mark.parametrize("shape", [(510, 1, 128), (510,), (0, 1, 256), (), (2, 510, 1, 256)])
def test_voices_of_another_model(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = archive(tmp_path / "v.bin", af_a=np.zeros(shape, np.float32))
    with pytest.raises(ProviderError, match=re.escape(f"shape {shape} of float32, not (510, 1, 256)")):
        Styles(path)


def test_voices_that_would_run_code(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([print], object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "v.bin", "w") as file:
        file.writestr("af_a.npy", buffer.getvalue())
    with pytest.raises(ProviderError, match="voice af_a cannot be read: Object arrays"):
        Styles(tmp_path / "v.bin")


def test_a_voice_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "v.bin", af_a=style(1), af_b=style(2))
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(content)
    styles = Styles(path)
    with pytest.raises(ProviderError, match="voice af_b cannot be read: Bad CRC-32"):
        styles.of("af_b")


def test_a_voice_of_a_folder_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "af_a.bin").write_bytes(b"x" * 1000)
    with pytest.raises(ProviderError, match="af_a.bin has 1000 bytes; a voice has 1024 for each number of phonemes"):
        Styles(tmp_path)
