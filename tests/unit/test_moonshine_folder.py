"""What is said of a folder that is no Moonshine model, or a damaged one; and what a good one is taken for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from providers.errors import ProviderError
from providers.moonshine.folder import OnnxFolder, OrtFolder, inspect
from providers.moonshine.names import Architecture

HEAD = b"\x1c\x00\x00\x00ORTM"
TOKENS = b"\x01a\x05hello\x80\x01" + b"x" * 128


def decoder(layers: int) -> bytes:
    return HEAD + b"".join(f"past_key_values.{layer}.decoder.key".encode() for layer in range(layers))


def plain(folder: Path, layers: int = 6) -> Path:
    (folder / "encoder_model.ort").write_bytes(HEAD)
    (folder / "decoder_model_merged.ort").write_bytes(decoder(layers))
    (folder / "tokenizer.bin").write_bytes(TOKENS)
    return folder


def streaming(folder: Path, frontend: tuple[str, ...] = ("frontend.ort",)) -> Path:
    for name in ("encoder.ort", "adapter.ort", "cross_kv.ort", "decoder_kv.ort", *frontend):
        (folder / name).write_bytes(HEAD)
    (folder / "streaming_config.json").write_text('{"depth": 1}')
    (folder / "tokenizer.bin").write_bytes(TOKENS)
    return folder


def exported(folder: Path, place: str = "onnx") -> Path:
    (folder / place).mkdir(exist_ok=True)
    for name in ("encoder_model.onnx", "decoder_model_merged.onnx"):
        (folder / place / name).write_bytes(b"\x08\x09")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(("layers", "architecture"), [(6, Architecture.TINY), (8, Architecture.BASE)])
def test_the_decoders_layers_tell_tiny_from_base(tmp_path: Path, layers: int, architecture: Architecture) -> None:
    found = inspect(plain(tmp_path, layers))
    assert isinstance(found, OrtFolder)
    assert found.architecture is architecture
    assert not found.tells_words


@pytest.mark.parametrize("name", ["decoder_with_attention.ort", "alignment_model.ort"])
def test_a_file_more_tells_when_words_are_spoken(tmp_path: Path, name: str) -> None:
    (plain(tmp_path) / name).write_bytes(HEAD)
    found = inspect(tmp_path)
    assert isinstance(found, OrtFolder)
    assert found.tells_words and found.files[-1].name == name


@pytest.mark.parametrize("frontend", [("frontend.ort",), ("frontend.model.ort", "frontend.weights.ort")])
def test_a_streaming_model_has_its_frontend_in_one_file_or_two(tmp_path: Path, frontend: tuple[str, ...]) -> None:
    found = inspect(streaming(tmp_path, frontend))
    assert isinstance(found, OrtFolder)
    assert found.architecture is Architecture.STREAMING
    assert {*frontend} <= {file.name for file in found.files}


@pytest.mark.parametrize("place", ["onnx", "."])
def test_onnx_exports_lie_in_a_folder_of_their_own_or_beside_the_tokenizer(tmp_path: Path, place: str) -> None:
    found = inspect(exported(tmp_path, place))
    assert isinstance(found, OnnxFolder)
    assert found.decoder == tmp_path / place / "decoder_model_merged.onnx"


@pytest.mark.parametrize("make", [plain, streaming, exported])
def test_each_missing_or_empty_file_is_named(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    for path in [file for file in make(tmp_path).rglob("*") if file.is_file()]:
        content = path.read_bytes()
        if path.name not in ("encoder_model.ort", "encoder_model.onnx"):
            path.unlink()
            with pytest.raises(ProviderError, match=rf"{path.name} is missing"):
                inspect(tmp_path)
        path.write_bytes(b"")
        with pytest.raises(ProviderError, match=rf"{path.name} is empty"):
            inspect(tmp_path)
        path.write_bytes(content)
    inspect(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("encoder_model.ort", b"\x08\x09 a plain ONNX file", "encoder_model.ort is not in ONNX Runtime's own format"),
        ("decoder_model_merged.ort", HEAD[:6], "decoder_model_merged.ort is not in ONNX Runtime's own format"),
        ("decoder_model_merged.ort", decoder(4), "has 4 layers"),
        ("decoder_model_merged.ort", HEAD, "has 0 layers"),
        ("decoder_with_attention.ort", b"<html>", "decoder_with_attention.ort is not"),
        ("tokenizer.bin", TOKENS[:-1], "tokenizer.bin is cut off"),
        ("tokenizer.bin", b"\x80", "tokenizer.bin is cut off"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (plain(tmp_path) / name).write_bytes(content)
    with pytest.raises(ProviderError, match=said):
        inspect(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_broken_configuration_is_named(tmp_path: Path, content: str) -> None:
    (streaming(tmp_path) / "streaming_config.json").write_text(content)
    with pytest.raises(ProviderError, match="streaming_config.json"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.bin", "provider: faster-whisper"),
        ("model.gguf", r"provider: llama\.cpp"),
        ("model.safetensors", "PyTorch"),
        ("notes.txt", "no encoder"),
    ],
)
def test_another_engines_model_is_known_for_what_it_is(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ProviderError, match=said) as told:
        inspect(tmp_path)
    assert "encoder_model.ort" in str(told.value)


def test_a_single_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.ort").write_bytes(HEAD)
    with pytest.raises(ProviderError, match="is no folder"):
        inspect(tmp_path / "encoder_model.ort")
