"""A model in single files from different places becomes one folder, as long as it is loaded."""

from pathlib import Path

import pytest

from providers.base import ModelFiles
from providers.errors import ProviderError
from providers.moonshine.assembly import links_of, model_folder
from providers.moonshine.names import ROLES


def made(folder: Path, *names: str) -> list[Path]:
    paths = []
    for name in names:
        path = folder / f"from-{name}" / name
        path.parent.mkdir()
        path.write_text(name)
        paths.append(path)
    return paths


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    with model_folder(ModelFiles(tmp_path), tmp_path / "cache") as folder:
        assert folder == tmp_path
    assert not (tmp_path / "cache").exists()


def test_single_files_are_linked_by_their_roles_and_no_longer(tmp_path: Path) -> None:
    encoder, decoder, tokenizer = made(tmp_path, "e.ort", "d.ort", "t")
    model = ModelFiles(encoder, {"decoder_model_merged": decoder, "tokenizer": tokenizer})
    with model_folder(model, tmp_path / "cache") as folder:
        texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert texts == {"encoder_model.ort": "e.ort", "decoder_model_merged.ort": "d.ort", "tokenizer.bin": "t"}
    assert not folder.exists() and not list((tmp_path / "cache").iterdir())


def test_nothing_is_left_of_a_load_that_fails(tmp_path: Path) -> None:
    encoder, decoder = made(tmp_path, "e.ort", "d.ort")
    model = ModelFiles(encoder, {"decoder_model_merged": decoder})
    with pytest.raises(RuntimeError), model_folder(model, tmp_path / "cache"):
        raise RuntimeError
    assert not list((tmp_path / "cache").iterdir())


def test_an_adapter_makes_it_a_streaming_model() -> None:
    roles = ("adapter", "cross_kv", "decoder_kv", "frontend_model", "frontend_weights", "streaming_config", "tokenizer")
    links = links_of(ModelFiles(Path("/a/encoder.ort"), {role: Path("/b", role) for role in roles}))
    assert set(links) == {
        *("encoder.ort", "adapter.ort", "cross_kv.ort", "decoder_kv.ort"),
        *("frontend.model.ort", "frontend.weights.ort", "streaming_config.json", "tokenizer.bin"),
    }


def test_onnx_exports_have_names_of_their_own() -> None:
    roles = ("decoder_model_merged", "tokenizer", "config")
    links = links_of(ModelFiles(Path("/a/encoder_model.onnx"), {role: Path("/b", role) for role in roles}))
    assert set(links) == {
        *("onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx", "tokenizer.json", "config.json")
    }


def test_a_companion_adds_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/encoder_model.ort").touch()
    links = links_of(ModelFiles(tmp_path / "model", {"decoder_with_attention": Path("/b/d.ort")}))
    assert set(links) == {"encoder_model.ort", "decoder_with_attention.ort"}


@pytest.mark.parametrize(("main", "role"), [("encoder.ort", "config"), ("encoder.onnx", "adapter")])
def test_a_companion_of_another_layout_is_refused(main: str, role: str) -> None:
    assert role in ROLES
    with pytest.raises(ProviderError, match=rf"companions\.{role}"):
        links_of(ModelFiles(Path("/a", main), {role: Path("/b")}))
