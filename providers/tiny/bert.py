"""Tiny BERT encoders with random weights: one that embeds texts, one that scores a query against documents."""

from collections.abc import Callable
from pathlib import Path

from gguf import GGUFWriter, LlamaFileType, PoolingType

from providers.tiny.files import gguf_file
from providers.tiny.vocabulary import word_pieces
from providers.tiny.weights import Draw, Tensors, add_tensors, linear, norm, random_weights

EMBEDDING_LENGTH = 32
CONTEXT_LENGTH = 512
_LAYERS = 2
_HEADS = 2
_FEED_FORWARD_LENGTH = 2 * EMBEDDING_LENGTH
_SEED = 0
_WORDS = (
    "the a is of to and in cat dog car blue red sky bank river money paris france capital hello world good bad"
    " tiny model"
)


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


def _make(path: Path, name: str, pooling: PoolingType, head: Callable[[GGUFWriter, Draw], Tensors]) -> None:
    pieces, draw = word_pieces(_WORDS.split()), random_weights(_SEED)
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
        **norm("token_embd_norm", EMBEDDING_LENGTH),
    }


def _layer(draw: Draw, prefix: str) -> Tensors:
    length = EMBEDDING_LENGTH
    return {
        **linear(draw, f"{prefix}attn_q", length, length),
        **linear(draw, f"{prefix}attn_k", length, length),
        **linear(draw, f"{prefix}attn_v", length, length),
        **linear(draw, f"{prefix}attn_output", length, length),
        **norm(f"{prefix}attn_output_norm", length),
        **linear(draw, f"{prefix}ffn_up", _FEED_FORWARD_LENGTH, length),
        **linear(draw, f"{prefix}ffn_down", length, _FEED_FORWARD_LENGTH),
        **norm(f"{prefix}layer_output_norm", length),
    }


def _scoring_head(writer: GGUFWriter, draw: Draw) -> Tensors:
    # llama.cpp counts a reranker's outputs by its labels.
    writer.add_classifier_output_labels(["LABEL_0"])
    return {
        **linear(draw, "cls", EMBEDDING_LENGTH, EMBEDDING_LENGTH),
        **linear(draw, "cls.output", 1, EMBEDDING_LENGTH),
    }
