"""The graphs of a Moonshine that hears audio as it comes: each takes over what is left of the piece before.

Inputs and outputs are what libmoonshine gives and takes: core/moonshine-streaming-model.cpp of
github.com/moonshine-ai/moonshine.
"""

import json

import numpy as np

from providers.tiny import moonshine_tokens as tokens
from providers.tiny.moonshine_ear import FRAME, frames_of, width, words_at
from providers.tiny.moonshine_graph import FLOAT, INT64, Graph
from providers.tiny.tones import ALPHABET, Alphabet

_LEFT_BANDS, _LEFT_WIDTH = FRAME // 4, 4
"""The buffer between pieces, which holds samples that do not fill a frame, has a width that the library takes for
granted."""
_UNUSED = 79
_MOST_TOKENS = 448
_ALL = 2**31 - 1


def config(alphabet: Alphabet) -> bytes:
    sizes = {
        "encoder_dim": width(alphabet),
        "decoder_dim": width(alphabet),
        "depth": 1,
        "nheads": 1,
        "head_dim": width(alphabet),
        "vocab_size": tokens.size(alphabet),
        "bos_id": tokens.START,
        "eos_id": tokens.END,
        "frame_len": FRAME // 4,
        "total_lookahead": 0,
        "d_model_frontend": _LEFT_BANDS,
        "c1": 1,
        "c2": 1,
        "max_seq_len": _MOST_TOKENS,
    }
    return json.dumps(sizes, indent=2).encode()


def frontend(alphabet: Alphabet = ALPHABET) -> Graph:
    """Frames of a piece of audio and of what was left of the one before."""
    graph = Graph()
    piece = graph.input("audio_chunk", FLOAT, [1, "samples"])
    graph.output("sample_buffer_out", graph.input("sample_buffer", FLOAT, [1, _UNUSED]), FLOAT, [1, _UNUSED])
    left_length = graph.input("sample_len", INT64, [1])
    left = graph.input("conv1_buffer", FLOAT, [1, _LEFT_BANDS, _LEFT_WIDTH])
    unused = graph.input("conv2_buffer", FLOAT, [1, 1, _LEFT_WIDTH])
    before = graph.input("frame_count", INT64, [1])

    left = _cut(graph, graph.node("Reshape", left, graph.integers(1, FRAME)), graph.integers(0), left_length)
    samples = graph.node("Concat", left, piece, axis=1)
    length = graph.length(samples, 1)
    count = graph.node("Div", length, graph.integers(FRAME))
    used = graph.node("Mul", count, graph.integers(FRAME))
    whole = graph.node("Unsqueeze", _cut(graph, samples, graph.integers(0), used), graph.integers(1))
    # A convolution needs something to convolve.
    padded = graph.node("Pad", whole, graph.integers(0, 0, 0, 0, 0, FRAME))
    features = _cut(graph, frames_of(graph, padded, alphabet), graph.integers(0), count)
    rest = graph.node("Pad", _cut(graph, samples, used, graph.integers(_ALL)), graph.integers(0, 0, 0, FRAME))
    rest = _cut(graph, rest, graph.integers(0), graph.integers(FRAME))
    rest = graph.node("Reshape", rest, graph.integers(1, _LEFT_BANDS, _LEFT_WIDTH))

    graph.output("features", features, FLOAT, [1, "frames", width(alphabet)])
    graph.output("sample_len_out", graph.node("Sub", length, used), INT64, [1])
    graph.output("conv1_buffer_out", rest, FLOAT, [1, _LEFT_BANDS, _LEFT_WIDTH])
    graph.output("conv2_buffer_out", unused, FLOAT, [1, 1, _LEFT_WIDTH])
    graph.output("frame_count_out", graph.node("Add", before, count), INT64, [1])
    return graph


def encoder(alphabet: Alphabet) -> Graph:
    graph = Graph()
    features = graph.input("features", FLOAT, [1, "frames", width(alphabet)])
    graph.output("encoded", features, FLOAT, [1, "frames", width(alphabet)])
    return graph


def adapter(alphabet: Alphabet) -> Graph:
    graph = Graph()
    encoded = graph.input("encoded", FLOAT, [1, "frames", width(alphabet)])
    place = graph.node("Cast", graph.input("pos_offset", INT64, [1]), to=FLOAT)
    nothing = graph.node("Mul", place, graph.constant(np.zeros(1, np.float32)))
    graph.output("memory", graph.node("Add", encoded, nothing), FLOAT, [1, "frames", width(alphabet)])
    return graph


def cross_attention(alphabet: Alphabet) -> Graph:
    graph = Graph()
    memory = graph.input("memory", FLOAT, [1, "frames", width(alphabet)])
    for name in ("k_cross", "v_cross"):
        layer = graph.node("Unsqueeze", memory, graph.integers(0, 1))
        graph.output(name, layer, FLOAT, [1, 1, 1, "frames", width(alphabet)])
    return graph


def decoder(alphabet: Alphabet, with_attention: bool = False) -> Graph:
    """Which words come next follows from how many tokens are in the cache and how many are given."""
    graph = Graph()
    given = graph.length(graph.input("token", INT64, [1, "tokens"]), 1)
    caches = [graph.input(name, FLOAT, [1, 1, 1, "cached", width(alphabet)]) for name in ("k_self", "v_self")]
    memory = graph.input("out_k_cross", FLOAT, [1, 1, 1, "frames", width(alphabet)])
    graph.input("out_v_cross", FLOAT, [1, 1, 1, "frames", width(alphabet)])

    frames = graph.node("Reshape", memory, graph.integers(1, -1, width(alphabet)))
    count = graph.node("Squeeze", given, graph.integers(0))
    order = graph.node("Range", graph.scalar(0), count, graph.scalar(1))
    steps = graph.node("Add", order, graph.length(caches[0], 3))
    said = words_at(graph, frames, graph.length(frames, 1), steps, alphabet)
    graph.output("logits", said.logits, FLOAT, [1, "tokens", tokens.size(alphabet)])
    shape = graph.node("Concat", graph.integers(1, 1, 1), given, graph.integers(width(alphabet)), axis=0)
    added = graph.node("Expand", graph.constant(np.zeros((1, 1, 1, 1, 1), np.float32)), shape)
    for name, cache in zip(("out_k_self", "out_v_self"), caches, strict=True):
        graph.output(name, graph.node("Concat", cache, added, axis=3), FLOAT, [1, 1, 1, "filled", width(alphabet)])
    if with_attention:
        attention = graph.node("Unsqueeze", said.attention, graph.integers(0, 1))
        graph.output("cross_attentions.0", attention, FLOAT, [1, 1, "tokens", "frames"])
    return graph


def _cut(graph: Graph, values: str, start: str, end: str) -> str:
    """Along the second axis."""
    return graph.node("Slice", values, start, end, graph.integers(1))
