"""The tiny GGUF models as files; `tests/integration/test_tiny_models_on_engine.py` runs them."""

import hashlib
import stat
from pathlib import Path

import pytest
from gguf import GGUFReader, PoolingType

from providers.tiny import make_demo_models
from providers.tiny.chat import Script, make_chat_model
from providers.tiny.files import gguf_file
from providers.tiny.vocabulary import byte_token, sentence_pieces

NAMES = {"tiny-chat.gguf", "tiny-loop.gguf", "tiny-embed.gguf", "tiny-rerank.gguf", "tiny-mmproj.gguf", "tones.wav"}
FOLDERS = {"tiny-moonshine", "tiny-moonshine-onnx", "tiny-whisper", "tiny-kokoro"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_demo_models(tmp_path_factory.mktemp("models"))


def metadata(path: Path, key: str) -> object:
    field = GGUFReader(path).get_field(key)
    assert field is not None, f"{path.name} has no {key}"
    return field.contents()


def digests(models: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(models[name].read_bytes()).hexdigest() for name in NAMES}


def test_makes_exactly_the_demo_models(models: dict[str, Path]) -> None:
    folder = models["tiny-chat.gguf"].parent
    assert set(models) == NAMES | FOLDERS
    assert {path.name for path in folder.iterdir()} == NAMES | FOLDERS
    assert all(path.stat().st_size < 2_000_000 for path in folder.rglob("*"))
    assert all(models[name].is_dir() and any(models[name].iterdir()) for name in FOLDERS)


def test_two_runs_make_the_same_bytes(models: dict[str, Path], tmp_path: Path) -> None:
    assert digests(make_demo_models(tmp_path)) == digests(models)


def test_a_second_run_keeps_the_files(tmp_path: Path) -> None:
    before = {name: path.stat() for name, path in make_demo_models(tmp_path).items()}
    after = {name: path.stat() for name, path in make_demo_models(tmp_path).items()}
    assert {name: (one.st_ino, one.st_mtime_ns) for name, one in after.items()} == {
        name: (one.st_ino, one.st_mtime_ns) for name, one in before.items()
    }


def test_a_truncated_file_is_made_again(models: dict[str, Path], tmp_path: Path) -> None:
    broken = make_demo_models(tmp_path)["tiny-embed.gguf"]
    broken.write_bytes(broken.read_bytes()[:1000])
    assert digests(make_demo_models(tmp_path)) == digests(models)


def test_other_users_may_read_the_files(models: dict[str, Path]) -> None:
    assert all(path.stat().st_mode & stat.S_IROTH for path in models.values())


def test_a_failure_leaves_neither_the_file_nor_a_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"), gguf_file(tmp_path / "model.gguf", "llama") as writer:
        writer.add_name("half a model")
        raise RuntimeError("halfway")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny-chat.gguf", "tiny-loop.gguf"])
def test_chat_models_have_their_context_and_template(models: dict[str, Path], name: str) -> None:
    path = models[name]
    assert metadata(path, "general.architecture") == "llama"
    assert metadata(path, "general.name") == name.removesuffix(".gguf")
    assert metadata(path, "llama.context_length") == 8192
    assert "<tool_call>" in str(metadata(path, "tokenizer.chat_template"))


def test_token_texts_are_unique(models: dict[str, Path]) -> None:
    for name in NAMES - {"tiny-mmproj.gguf", "tones.wav"}:
        tokens = metadata(models[name], "tokenizer.ggml.tokens")
        assert isinstance(tokens, list)
        assert len(set(tokens)) == len(tokens), name


def test_encoders_have_their_pooling(models: dict[str, Path]) -> None:
    for name, pooling in (("tiny-embed.gguf", PoolingType.MEAN), ("tiny-rerank.gguf", PoolingType.RANK)):
        assert metadata(models[name], "bert.embedding_length") == 32
        assert metadata(models[name], "bert.context_length") == 512
        assert metadata(models[name], "bert.pooling_type") == pooling
    assert metadata(models["tiny-rerank.gguf"], "bert.classifier.output_labels") == ["LABEL_0"]


def test_the_projector_fits_the_chat_model(models: dict[str, Path]) -> None:
    assert metadata(models["tiny-mmproj.gguf"], "general.architecture") == "clip"
    assert metadata(models["tiny-mmproj.gguf"], "clip.vision.projection_dim") == metadata(
        models["tiny-chat.gguf"], "llama.embedding_length"
    )


def test_a_chat_model_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "echo.gguf"
    scripts = [Script(byte_token(ord("\n")), ("the", "▁cat", "the", "!"))]
    make_chat_model(path, "echo", scripts, context_length=128)
    tokens = metadata(path, "tokenizer.ggml.tokens")
    assert metadata(path, "llama.context_length") == 128
    assert isinstance(tokens, list)
    assert tokens[-4:] == ["the", "▁cat", "the\u2060", "!\u2060"]


def test_an_unknown_cue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nonsense"):
        make_chat_model(tmp_path / "never.gguf", "never", [Script("nonsense", ("a",))])


def test_a_vocabulary_refuses_the_same_text_twice() -> None:
    with pytest.raises(ValueError, match="already"):
        sentence_pieces(("<s>",))
