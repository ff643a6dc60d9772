"""A Whisper that recites: what it says next depends on nothing but the last token, as the weights of CTranslate2.

No layer adds anything to what it is given, so that the decoder's output is the last token's embedding, normalized; the
projection then maps some embeddings to the token that follows. The encoder knows nothing but the time, and where the
decoder looks in it is all that the times of words come from.
Source: python/ctranslate2/specs/whisper_spec.py of github.com/OpenNMT/CTranslate2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec  # type: ignore[import-untyped]

from providers.tiny.weights import FloatArray, ones, zeros

LENGTH = 32
"""Of embeddings."""
HEADS = 1
LAYERS = 1
MEL_BANDS = 80
_SOURCE_POSITIONS, _TARGET_POSITIONS = 1500, 448
_KERNEL = 3
_CERTAIN = 30.0


@dataclass(frozen=True, slots=True)
class Recital:
    """Tokens by their ids. `default` follows what has no successor.

    `looks` tells for some tokens at which part of the audio the decoder looks after them: each is `part_frames` long,
    which are 20 ms each, and the last of them is all the rest.
    """

    size: int
    successors: Mapping[int, int]
    default: int
    looks: Mapping[int, int]
    part_frames: int


def reciting_whisper(recital: Recital) -> WhisperSpec:
    spec = WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    known = sorted({*recital.successors, *recital.looks})
    vectors = _vectors(len(known) + 1)
    token_vectors, unknown = dict(zip(known, vectors[:-1], strict=True)), vectors[-1]
    parts = _vectors(max(recital.looks.values()) + 1)
    _encoder(spec.encoder, parts[np.minimum(np.arange(_SOURCE_POSITIONS) // recital.part_frames, len(parts) - 1)])
    looks = np.zeros((LENGTH, LENGTH), np.float32)
    for token, part in recital.looks.items():
        looks += _maps(token_vectors[token], parts[part])
    _decoder(spec.decoder, looks)
    spec.decoder.embeddings.weight = np.stack([token_vectors.get(token, unknown) for token in range(recital.size)])
    follows = np.zeros((recital.size, LENGTH), np.float32)
    for token, following in recital.successors.items():
        follows[following] += _CERTAIN * token_vectors[token] / LENGTH
    follows[recital.default] += _CERTAIN * unknown / LENGTH
    _linear(spec.decoder.projection, follows)
    return spec


def _vectors(count: int) -> FloatArray:
    """As many vectors, next to orthogonal, that a layer norm leaves as they are."""
    vectors = np.eye(count, LENGTH) - 1 / LENGTH
    scaled: FloatArray = (vectors / vectors.std(axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _maps(source: FloatArray, target: FloatArray) -> FloatArray:
    """The matrix that maps one vector to a multiple of the other, and what is orthogonal to the one to nothing."""
    matrix: FloatArray = np.outer(target, source) * np.float32(_CERTAIN / LENGTH)
    return matrix


# The parts of a specification are given their attributes when it is made, which no type tells.
def _encoder(spec: Any, positions: FloatArray) -> None:
    for convolution, bands in ((spec.conv1, MEL_BANDS), (spec.conv2, LENGTH)):
        convolution.weight, convolution.bias = np.zeros((LENGTH, bands, _KERNEL), np.float32), zeros(LENGTH)
    spec.position_encodings.encodings = positions
    _norm(spec.layer_norm)
    for layer in spec.layer:
        _attention(layer.self_attention)
        _feed_forward(layer.ffn)


def _decoder(spec: Any, looks: FloatArray) -> None:
    spec.position_encodings.encodings = np.zeros((_TARGET_POSITIONS, LENGTH), np.float32)
    _norm(spec.layer_norm)
    for layer in spec.layer:
        _attention(layer.self_attention)
        _norm(layer.attention.layer_norm)
        queries, keys_and_values, output = layer.attention.linear
        _linear(queries, looks)
        _linear(keys_and_values, np.eye(2 * LENGTH, LENGTH, dtype=np.float32))
        _linear(output, np.zeros((LENGTH, LENGTH), np.float32))
        _feed_forward(layer.ffn)


def _attention(spec: Any) -> None:
    _norm(spec.layer_norm)
    _linear(spec.linear[0], np.zeros((3 * LENGTH, LENGTH), np.float32))
    _linear(spec.linear[1], np.zeros((LENGTH, LENGTH), np.float32))


def _feed_forward(spec: Any) -> None:
    _norm(spec.layer_norm)
    _linear(spec.linear_0, np.zeros((LENGTH, LENGTH), np.float32))
    _linear(spec.linear_1, np.zeros((LENGTH, LENGTH), np.float32))


def _linear(spec: Any, weights: FloatArray) -> None:
    spec.weight, spec.bias = weights, zeros(len(weights))


def _norm(spec: Any) -> None:
    spec.gamma, spec.beta = ones(LENGTH), zeros(LENGTH)
