"""What is said of a folder that is no Whisper for CTranslate2, or a damaged one."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from providers.errors import ProviderError
from providers.whisper.folder import inspect
from providers.whisper.weights import BrokenWeights, Variable, read_variables

VARIABLES = {
    "decoder/embeddings/weight": (100, 128),
    "decoder/layer_0/self_attention/linear_0/bias": (384,),
    "decoder/layer_0/self_attention/linear_0/weight": (384, 128),
    "decoder/layer_1/ffn/linear_0/weight": (512, 128),
    "decoder/scale": (),
    "encoder/conv1/weight": (128, 80, 3),
    "encoder/position_encodings/encodings": (1500, 128),
}
ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


def text(content: str) -> bytes:
    return struct.pack("<H", len(content) + 1) + content.encode() + b"\0"


def weights(variables: Mapping[str, tuple[int, ...]] = VARIABLES, kind: str = "WhisperSpec", version: int = 6) -> bytes:
    """A `model.bin` of float16, as CTranslate2 writes it."""
    content = struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, len(variables))
    for name, shape in variables.items():
        size = 2 * Variable(name, shape).elements
        content += text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        content += struct.pack("<BI", 4, size) + bytes(size)
    content += struct.pack("<I", len(ALIASES))
    return content + b"".join(text(alias) + text(name) for alias, name in ALIASES.items())


SUPPRESSED: dict[str, object] = {"suppress_ids": [], "suppress_ids_begin": [1]}


def whisper(folder: Path) -> Path:
    (folder / "model.bin").write_bytes(weights())
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    (folder / "config.json").write_text(json.dumps(SUPPRESSED))
    (folder / "vocabulary.json").write_text("[]")
    return folder


def test_a_whole_folder_passes_and_tells_its_variables(tmp_path: Path) -> None:
    found = inspect(whisper(tmp_path))
    assert found.path == tmp_path and not found.tells_languages
    assert {one.name: one.shape for one in found.variables} == VARIABLES
    matrices = {one.name for one in found.variables if one.is_matrix}
    assert matrices == {name for name, shape in VARIABLES.items() if name.endswith("weight") and len(shape) == 2}


def test_a_configuration_may_tell_by_what_languages_are_detected(tmp_path: Path) -> None:
    for found, told in (([7, 8], True), ([], False), (1, False)):
        (whisper(tmp_path) / "config.json").write_text(json.dumps(SUPPRESSED | {"lang_ids": found}))
        assert inspect(tmp_path).tells_languages is told
        (tmp_path / "config.json").write_text(json.dumps(SUPPRESSED | {"alignment_heads": found}))
        assert inspect(tmp_path).tells_words is told


@pytest.mark.parametrize("key", SUPPRESSED)
@pytest.mark.parametrize("found", [None, 1, "text", ["text"], [1.5], [True]])
def test_what_the_library_reads_blindly_must_be_there(tmp_path: Path, key: str, found: object) -> None:
    (whisper(tmp_path) / "config.json").write_text(json.dumps(SUPPRESSED | {key: found}))
    with pytest.raises(ProviderError, match=f"config.json has no list {key}"):
        inspect(tmp_path)


@pytest.mark.parametrize("unneeded", ["preprocessor_config.json", "vocabulary.json"])
def test_some_files_may_be_missing(tmp_path: Path, unneeded: str) -> None:
    (whisper(tmp_path) / "vocabulary.txt").write_text("a\n")
    (tmp_path / unneeded).unlink()
    inspect(tmp_path)


@pytest.mark.parametrize("needed", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
def test_a_missing_file_is_named(tmp_path: Path, needed: str) -> None:
    (whisper(tmp_path) / needed).unlink()
    with pytest.raises(ProviderError, match=needed) as failed:
        inspect(tmp_path)
    assert "hf://Systran/faster-whisper-small" in str(failed.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_json_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (whisper(tmp_path) / name).write_bytes(content)
    with pytest.raises(ProviderError, match=f"{name} (is no JSON|holds no JSON object)"):
        inspect(tmp_path)


def test_features_are_made_with_whole_numbers(tmp_path: Path) -> None:
    (whisper(tmp_path) / "preprocessor_config.json").write_text('{"feature_size": "many", "other": "text"}')
    with pytest.raises(ProviderError, match=r"preprocessor_config\.json: feature_size is 'many'"):
        inspect(tmp_path)


def test_weights_may_be_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    whole = weights({"decoder/embeddings/weight": (4, 2), "encoder/scale": ()})
    path.write_bytes(whole)
    assert len(read_variables(path)) == 2
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenWeights, match="cut off"):
            read_variables(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GGUF" + bytes(100), "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        (weights(kind="TransformerSpec"), "another kind of model .TransformerSpec"),
        (weights(version=5), "not in the format of CTranslate2"),
        (b"<!doctype html><html>Not Found</html>", "not in the format of CTranslate2"),
        (struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1) + text("x") + b"\xff" * 9, "damaged"),
    ],
)
def test_weights_of_another_kind_are_told_what_they_are(tmp_path: Path, content: bytes, told: str) -> None:
    (whisper(tmp_path) / "model.bin").write_bytes(content)
    with pytest.raises(ProviderError, match=rf"model\.bin .*{told}.*such as hf://"):
        inspect(tmp_path)


def moonshine(folder: Path) -> None:
    (folder / "encoder_model.ort").touch()


def transformers(folder: Path) -> None:
    (folder / "model.safetensors").touch()


def ggml(folder: Path) -> None:
    (folder / "ggml-base.bin").touch()


@pytest.mark.parametrize(
    ("fill", "told"),
    [(moonshine, "ONNX"), (transformers, "PyTorch"), (ggml, r"whisper\.cpp"), (lambda folder: None, r"no model\.bin")],
)
def test_folders_of_others_are_recognized(tmp_path: Path, fill: Callable[[Path], None], told: str) -> None:
    fill(tmp_path)
    with pytest.raises(ProviderError, match=f"{told}.*such as hf://Systran"):
        inspect(tmp_path)


def test_a_single_file_is_no_model(tmp_path: Path) -> None:
    file = whisper(tmp_path) / "model.bin"
    for path in (file, tmp_path / "none"):
        with pytest.raises(ProviderError, match=r"is no folder.*such as hf://"):
            inspect(path)
