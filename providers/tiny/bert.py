"""Tiny BERT encoders with random weights: one that embeds texts, one that scores a query against documents."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, PoolingType

from providers.tiny.files import FloatArray, Tensors, add_tensors, gguf_file
from providers.tiny.vocabulary import word_pieces

EMBEDDING_LENGTH = 32
CONTEXT_LENGTH = 512
_LAYERS = 2
_HEADS = 2
_FEED_FORWARD_LENGTH = 2 * EMBEDDING_LENGTH
_SEED = 0
_WORDS = (
    "the a is of to and in cat dog car blue red sky bank river money paris france capital hello world good bad"
    " tiny model"
).split()

Draw = Callable[..., FloatArray]


def make_embedder(path: Path) -> None:
    """Make an encoder that pools a text's tokens into their mean, a vector of 32 numbers.

    Raises `OSError` if the file cannot be written.
    """
    _make(path, "tiny-embed", PoolingType.MEAN, lambda writer, draw: {})


def make_reranker(path: Path) -> None:
    """Make an encoder with a head that gives one score to a query and a document.

    Raises `OSError` if the file cannot be written.
    """
    _make(path, "tiny-reranker", PoolingType.RANK, _scoring_head)


def random_weights(seed: int) -> Draw:
    """A function from a shape to normal noise that keeps the size of what passes through it."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> FloatArray:
        return (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    return draw


def ones(size: int) -> FloatArray:
    return np.ones(size, np.float32)


def zeros(size: int) -> FloatArray:
    return np.zeros(size, np.float32)


def _make(path: Path, name: str, pooling: PoolingType, head: Callable[[GGUFWriter, Draw], Tensors]) -> None:
    pieces, draw = word_pieces(_WORDS), random_weights(_SEED)
    with gguf_file(path, "bert") as writer:
        writer.add_name(name)
        _write_shape(writer, len(pieces), pooling)
        pieces.write(writer)
        add_tensors(writer, _embedding_tables(draw, len(pieces)))
        for layer in range(_LAYERS):
            add_tensors(writer, _layer(draw, f"blk.{layer}."))
        add_tensors(writer, head(writer, draw))


def _write_shape(writer: GGUFWriter, vocabulary_size: int, pooling: PoolingType) -> None:
    writer.add_vocab_size(vocabulary_size)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(EMBEDDING_LENGTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD_LENGTH)
    writer.add_head_count(_HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_file_type(LlamaFileType.ALL_F32)


def _embedding_tables(draw: Draw, vocabulary_size: int) -> Tensors:
    # Words outweigh positions, so that texts with the same words are near each other whatever their order.
    return {
        "token_embd.weight": draw(vocabulary_size, EMBEDDING_LENGTH) * 6,
        "token_types.weight": draw(2, EMBEDDING_LENGTH),
        "position_embd.weight": draw(CONTEXT_LENGTH, EMBEDDING_LENGTH) * 0.3,
        "token_embd_norm.weight": ones(EMBEDDING_LENGTH),
        "token_embd_norm.bias": zeros(EMBEDDING_LENGTH),
    }


def _layer(draw: Draw, prefix: str) -> Mapping[str, FloatArray]:
    length = EMBEDDING_LENGTH
    tensors: dict[str, FloatArray] = {}
    for projection in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"{projection}.weight"] = draw(length, length)
        tensors[f"{projection}.bias"] = zeros(length)
    for norm in ("attn_output_norm", "layer_output_norm"):
        tensors[f"{norm}.weight"] = ones(length)
        tensors[f"{norm}.bias"] = zeros(length)
    tensors["ffn_up.weight"] = draw(_FEED_FORWARD_LENGTH, length)
    tensors["ffn_up.bias"] = zeros(_FEED_FORWARD_LENGTH)
    tensors["ffn_down.weight"] = draw(length, _FEED_FORWARD_LENGTH)
    tensors["ffn_down.bias"] = zeros(length)
    return {prefix + name: values for name, values in tensors.items()}


def _scoring_head(writer: GGUFWriter, draw: Draw) -> Tensors:
    # llama.cpp counts a reranker's outputs by its labels.
    writer.add_classifier_output_labels(["LABEL_0"])
    return {
        "cls.weight": draw(EMBEDDING_LENGTH, EMBEDDING_LENGTH),
        "cls.bias": zeros(EMBEDDING_LENGTH),
        "cls.output.weight": draw(1, EMBEDDING_LENGTH),
        "cls.output.bias": zeros(1),
    }
