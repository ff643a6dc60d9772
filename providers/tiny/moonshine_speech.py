"""The two graphs of a Moonshine that hears a whole piece of audio: an encoder, and a decoder with a cache.

Inputs and outputs are those of the published exports, of which libmoonshine takes some by their names:
core/moonshine-model.cpp of github.com/moonshine-ai/moonshine.
"""

import numpy as np

from providers.tiny import moonshine_tokens as tokens
from providers.tiny.moonshine_ear import FRAME, frames_of, width, words_at
from providers.tiny.moonshine_graph import BOOL, FLOAT, INT64, Graph
from providers.tiny.tones import Alphabet

LAYERS, HEADS, HEAD_LENGTH = 6, 8, 36
"""Those of Moonshine's smallest model, which libmoonshine takes for granted."""


def encoder(alphabet: Alphabet) -> Graph:
    graph = Graph()
    samples = graph.node("Unsqueeze", graph.input("input_values", FLOAT, [1, "samples"]), graph.integers(1))
    # What does not fill a frame is heard with silence after it.
    padded = graph.node("Pad", samples, graph.integers(0, 0, 0, 0, 0, FRAME - 1))
    graph.output("last_hidden_state", frames_of(graph, padded, alphabet), FLOAT, [1, "frames", width(alphabet)])
    return graph


def decoder(alphabet: Alphabet, with_attention: bool = False) -> Graph:
    """Which word comes next follows from how many steps are in the cache, and from the encoder's frames.

    As in the published exports, what a cached step presents of the encoder is empty: the first step's stays valid.
    """
    graph = Graph()
    graph.input("input_ids", INT64, [1, "tokens"])
    frames = graph.input("encoder_hidden_states", FLOAT, [1, "frames", width(alphabet)])
    for name in _cache_names():
        graph.input(f"past_key_values.{name}", FLOAT, ["batch", HEADS, "past", HEAD_LENGTH])
    cached = graph.input("use_cache_branch", BOOL, [1])
    continues = graph.node("Cast", cached, to=INT64)
    steps = graph.node("Mul", continues, graph.length("past_key_values.0.decoder.key", 2))
    all_frames = graph.length(frames, 1)
    # A caller that does not keep the encoder's part of the cache hears nothing more.
    remembered = graph.node(
        "Mul",
        graph.length("past_key_values.0.encoder.key", 0),
        graph.length("past_key_values.0.encoder.key", 2),
    )
    heard = graph.node("Where", cached, remembered, all_frames)
    said = words_at(graph, frames, heard, steps, alphabet)
    graph.output("logits", said.logits, FLOAT, [1, "steps", tokens.size(alphabet)])
    begins = graph.node("Sub", graph.integers(1), continues)
    _present(graph, "decoder", graph.integers(1), graph.node("Add", steps, graph.integers(1)))
    _present(graph, "encoder", begins, all_frames)
    if with_attention:
        heads = graph.node("Expand", said.attention, graph.integers(1, HEADS, 1, 1))
        for layer in range(LAYERS):
            graph.output(f"cross_attentions.{layer}", heads, FLOAT, [1, HEADS, "steps", "frames"])
    return graph


def _cache_names(parts: tuple[str, ...] = ("decoder", "encoder")) -> list[str]:
    return [f"{layer}.{part}.{half}" for layer in range(LAYERS) for part in parts for half in ("key", "value")]


def _present(graph: Graph, part: str, batch: str, length: str) -> None:
    shape = graph.node("Concat", batch, graph.integers(HEADS), length, graph.integers(HEAD_LENGTH), axis=0)
    zeros = graph.node("Expand", graph.constant(np.zeros((1, 1, 1, 1), np.float32)), shape)
    for name in _cache_names((part,)):
        graph.output(f"present.{name}", zeros, FLOAT, ["present_batch", HEADS, f"present_{part}", HEAD_LENGTH])
