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

from providers.tiny.weights import FloatArray, ones, random_weights, zeros

LENGTH = 32
"""Of embeddings."""
HEADS = 1
LAYERS = 1
MEL_BANDS = 80
_SOURCE_POSITIONS, _TARGET_POSITIONS = 1500, 448
_KERNEL = 3
_SEED = 0
_CERTAIN = 30.0
_DEFAULT = 20.0


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
    embeddings = _normalized(random_weights(_SEED)(recital.size, LENGTH))
    parts = _normalized(np.eye(max(recital.looks.values()) + 1, LENGTH, dtype=np.float32))
    _encoder(spec.encoder, parts[np.minimum(np.arange(_SOURCE_POSITIONS) // recital.part_frames, len(parts) - 1)])
    looks = _associations(embeddings, {token: parts[part] for token, part in recital.looks.items()})
    _decoder(spec.decoder, looks)
    spec.decoder.embeddings.weight = embeddings
    follows = np.zeros((recital.size, LENGTH), np.float32)
    for token, following in recital.successors.items():
        follows[following] += _CERTAIN / LENGTH * embeddings[token]
    _linear(spec.decoder.projection, follows)
    spec.decoder.projection.bias[recital.default] = _DEFAULT
    return spec


def _associations(embeddings: FloatArray, vectors: Mapping[int, FloatArray]) -> FloatArray:
    """The matrix that maps the embeddings of some tokens to vectors."""
    matrix = np.zeros((LENGTH, LENGTH), np.float32)
    for token, vector in vectors.items():
        matrix += np.outer(vector, embeddings[token]) * np.float32(_CERTAIN / LENGTH)
    return matrix


def _normalized(vectors: FloatArray) -> FloatArray:
    """What a layer norm leaves as it is."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    scaled: FloatArray = (centred / centred.std(axis=1, keepdims=True)).astype(np.float32)
    return scaled


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
