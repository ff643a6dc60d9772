"""A chat model that recites scripts: a Llama whose next token depends on nothing but the last one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType

from providers.tiny.files import gguf_file
from providers.tiny.template import END_OF_TURN, START_OF_TURN, TEMPLATE, TOOL_CUE
from providers.tiny.vocabulary import SentencePieces, byte_token, sentence_pieces
from providers.tiny.weights import FloatArray, Tensors, add_tensors, ones

CONTEXT_LENGTH = 8192
_HEAD_LENGTH = 32
_FEED_FORWARD_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Script:
    """What the model says after the token `cue`, piece by piece; it then ends its turn, or begins again."""

    cue: str
    pieces: tuple[str, ...]
    endless: bool = False


_ANSWER_CUE = byte_token(ord("\n"))
"""The template ends a prompt with a newline."""

TALKING = (
    Script(_ANSWER_CUE, ("Hello", "▁from", "▁the", "▁tiny", "▁model", "!!")),
    Script(
        TOOL_CUE,
        (
            '<tool_call>\n{"name":',
            '▁"get_weather",',
            '▁"arguments":▁{"city":',
            '▁"Paris"}}\n',
            "</tool_call>",
        ),
    ),
)
LOOPING = (Script(_ANSWER_CUE, ("one", "▁two", "▁three", "▁four", "▁five,"), endless=True),)


def make_chat_model(path: Path, name: str, scripts: Sequence[Script], context_length: int = CONTEXT_LENGTH) -> int:
    """Make a chat model that recites `scripts` and return its embedding length, which a projector must match.

    `context_length` is in tokens. Raises `KeyError` if a cue is no token, `OSError` if the file cannot be written.
    """
    vocabulary = sentence_pieces((START_OF_TURN, END_OF_TURN, TOOL_CUE))
    successors = _successors(vocabulary, scripts)
    embedding_length = -(-len(vocabulary) // _HEAD_LENGTH) * _HEAD_LENGTH
    with gguf_file(path, "llama") as writer:
        writer.add_name(name)
        _write_shape(writer, len(vocabulary), embedding_length, context_length)
        _write_tokenizer(writer, vocabulary)
        add_tensors(writer, _weights(successors, embedding_length))
    return embedding_length


def _successors(vocabulary: SentencePieces, scripts: Sequence[Script]) -> list[int]:
    """Add the scripts' pieces to the vocabulary; the result maps each token id to the id that follows it."""
    end = vocabulary.id(END_OF_TURN)
    following: dict[int, int] = {}
    for script in scripts:
        spoken = [vocabulary.add_spoken(piece) for piece in script.pieces]
        last = spoken[0] if script.endless else end
        following |= zip([vocabulary.id(script.cue), *spoken], [*spoken, last], strict=True)
    return [following.get(token, end) for token in range(len(vocabulary))]


def _write_shape(writer: GGUFWriter, vocabulary_size: int, embedding_length: int, context_length: int) -> None:
    writer.add_vocab_size(vocabulary_size)
    writer.add_context_length(context_length)
    writer.add_embedding_length(embedding_length)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD_LENGTH)
    writer.add_head_count(embedding_length // _HEAD_LENGTH)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(_HEAD_LENGTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


def _write_tokenizer(writer: GGUFWriter, vocabulary: SentencePieces) -> None:
    vocabulary.write(writer)
    writer.add_bos_token_id(vocabulary.id("<s>"))
    writer.add_eos_token_id(vocabulary.id(END_OF_TURN))
    writer.add_unk_token_id(vocabulary.id("<unk>"))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def _weights(successors: Sequence[int], embedding_length: int) -> Tensors:
    """One-hot embeddings pass unchanged through a block of zeros, and the output matrix looks up the successor."""
    size = len(successors)
    embeddings: FloatArray = np.eye(size, embedding_length, dtype=np.float32)
    output: FloatArray = np.zeros((size, embedding_length), np.float32)
    output[successors, range(size)] = 1
    block_shapes = {
        "attn_q": (embedding_length, embedding_length),
        "attn_k": (_HEAD_LENGTH, embedding_length),
        "attn_v": (_HEAD_LENGTH, embedding_length),
        "attn_output": (embedding_length, embedding_length),
        "ffn_gate": (_FEED_FORWARD_LENGTH, embedding_length),
        "ffn_up": (_FEED_FORWARD_LENGTH, embedding_length),
        "ffn_down": (embedding_length, _FEED_FORWARD_LENGTH),
    }
    return {
        "token_embd.weight": embeddings.astype(np.float16),
        "output.weight": output.astype(np.float16),
        "output_norm.weight": ones(embedding_length),
        "blk.0.attn_norm.weight": ones(embedding_length),
        "blk.0.ffn_norm.weight": ones(embedding_length),
        **{f"blk.0.{layer}.weight": np.zeros(shape, np.float16) for layer, shape in block_shapes.items()},
    }
