"""Tiny Moonshine models that really transcribe the speech of `providers.tiny.tones`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from providers.tiny.folders import is_made, model_folder, recorded_folder
from providers.tiny.moonshine_tokens import packed_vocabulary
from providers.tiny.tones import ALPHABET, Alphabet

if TYPE_CHECKING:
    from providers.tiny.moonshine_graph import Graph


class ToolsMissing(Exception):
    """What makes the models is not installed; the text says how to install it."""


def require_tools() -> None:
    """Raises `ToolsMissing` if Moonshine models cannot be made here."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ToolsMissing("making tiny speech models needs the package onnx: pip install 'hal0[demo]'") from error


def make_moonshine(folder: Path, alphabet: Alphabet = ALPHABET) -> None:
    """Make a model of architecture 0, "tiny", with the times of words, in the format of `moonshine-voice`.

    A word is said to last until the next one begins. Silence before the first word is told from it if it lasts 80 ms.
    Raises `ToolsMissing` without `onnx`, `OSError` if the folder cannot be written.
    """
    require_tools()
    from providers.tiny.moonshine_speech import decoder, encoder

    graphs = {
        "encoder_model": encoder(alphabet),
        "decoder_model_merged": decoder(alphabet),
        "decoder_with_attention": decoder(alphabet, with_attention=True),
    }
    _make_ort_folder(folder, graphs, {"tokenizer.bin": packed_vocabulary(alphabet)})


def make_moonshine_streaming(folder: Path, alphabet: Alphabet = ALPHABET) -> None:
    """Make a model of the streaming architectures, which recognizes speech as it comes, with the times of words.

    Raises `ToolsMissing` without `onnx`, `OSError` if the folder cannot be written.
    """
    require_tools()
    from providers.tiny import moonshine_streaming as streaming

    graphs = {
        "frontend": streaming.frontend(alphabet),
        "encoder": streaming.encoder(alphabet),
        "adapter": streaming.adapter(alphabet),
        "cross_kv": streaming.cross_attention(alphabet),
        "decoder_kv": streaming.decoder(alphabet),
        "decoder_kv_with_attention": streaming.decoder(alphabet, with_attention=True),
    }
    files = {"tokenizer.bin": packed_vocabulary(alphabet), "streaming_config.json": streaming.config(alphabet)}
    _make_ort_folder(folder, graphs, files)


def make_moonshine_onnx(folder: Path, alphabet: Alphabet = ALPHABET) -> None:
    """Make the same model as ONNX exports, in the layout of `onnx-community/moonshine-tiny-ONNX` on the Hub.

    Raises `ToolsMissing` without `onnx`, `OSError` if the folder cannot be written.
    """
    require_tools()
    from providers.tiny import moonshine_hub as hub
    from providers.tiny.moonshine_speech import decoder, encoder

    files = {
        "onnx/encoder_model.onnx": encoder(alphabet).model().SerializeToString(),
        "onnx/decoder_model_merged.onnx": decoder(alphabet).model().SerializeToString(),
        "tokenizer.json": hub.tokenizer(alphabet),
        "config.json": hub.config(alphabet),
        "generation_config.json": hub.generation_config(),
        "preprocessor_config.json": hub.preprocessor_config(),
    }
    with model_folder(folder) as draft:
        (draft / "onnx").mkdir()
        for name, content in files.items():
            (draft / name).write_bytes(content)


def _make_ort_folder(folder: Path, graphs: Mapping[str, "Graph"], files: Mapping[str, bytes]) -> None:
    import onnxruntime  # type: ignore[import-untyped]

    from providers.tiny.moonshine_graph import save_ort

    # ONNX Runtime writes a graph's parts in another order each time.
    contents = {**{name: graph.model().SerializeToString() for name, graph in graphs.items()}, **files}
    digest = hashlib.sha256(onnxruntime.__version__.encode())
    for name, content in contents.items():
        digest.update(name.encode() + hashlib.sha256(content).digest())
    source = digest.hexdigest()
    if is_made(folder, source):
        return
    with recorded_folder(folder, source) as draft:
        for name, graph in graphs.items():
            save_ort(graph, draft / f"{name}.ort")
        for name, content in files.items():
            (draft / name).write_bytes(content)
