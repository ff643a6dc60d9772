"""What the tiny Moonshine models hear: how much of each tone there is in 20 ms of audio, and which words that makes."""

from dataclasses import dataclass

import numpy as np

from providers.tiny import moonshine_tokens as tokens
from providers.tiny.moonshine_graph import FLOAT, INT64, Graph
from providers.tiny.tones import FRAMES_A_SECOND, SAMPLE_RATE, Alphabet
from providers.tiny.weights import FloatArray

FRAME = SAMPLE_RATE // FRAMES_A_SECOND
"""Samples that make a frame."""
_OPENING = 3
"""Frames that may be silent before the first word without being taken for silence."""
_SILENCE_ENERGY = 0.01
"""That of a tone with a tenth of the greatest loudness."""
_CERTAIN = 100.0


def width(alphabet: Alphabet) -> int:
    """Numbers that describe a frame: the energy of each word's tone, and that which a tone must exceed to be heard."""
    return len(alphabet.words) + 1


def frames_of(graph: Graph, samples: str, alphabet: Alphabet) -> str:
    """Frames [1, frames, width] of samples [1, 1, n]; what does not fill a frame is left out.

    There must be samples for one frame at least.
    """
    waves = graph.node("Conv", samples, graph.constant(_kernels(alphabet)), strides=[FRAME])
    squares = graph.node("Mul", waves, waves)
    halves = graph.integers(len(alphabet.words), len(alphabet.words))
    sines, cosines = graph.nodes("Split", squares, halves, outputs=2, axis=1)
    energies = graph.node("Transpose", graph.node("Add", sines, cosines), perm=[0, 2, 1])
    silence = graph.constant(np.array(_SILENCE_ENERGY, np.float32))
    return graph.node("Pad", energies, graph.integers(0, 0, 0, 0, 0, 1), silence)


@dataclass(frozen=True, slots=True)
class Said:
    """What a decoder says at some steps, of which there are L: logits [1, L, tokens] and attention [L, frames]."""

    logits: str
    attention: str


def words_at(graph: Graph, frames: str, heard: str, steps: str, alphabet: Alphabet) -> Said:
    """Step `n` of the integers [L] `steps` says the word `n` of the first `heard` frames, or after the last the end.

    Silence at the beginning counts as a word. A word is said once half of it is there. Its attention are its frames and
    the silence after it, except that the end has the frames after the last word.
    """
    # One frame of silence more: there is a frame to look at even if nothing has been heard.
    frames = graph.node("Concat", frames, graph.constant(_silent_frame(alphabet)), axis=1)
    words = _find_words(graph, frames, heard, alphabet)
    wanted = graph.node("Unsqueeze", graph.node("Add", steps, graph.integers(1)), graph.integers(1))
    match = graph.node("Cast", graph.node("Equal", words.so_far, wanted), to=INT64)
    middle = graph.node("ArgMax", match, axis=1, keepdims=0)
    found = graph.node("Cast", graph.node("ReduceMax", match, axes=[1], keepdims=1), to=FLOAT)
    attention = graph.node("Cast", graph.node("Equal", words.around, wanted), to=FLOAT)
    return Said(
        _logits(graph, graph.node("Gather", frames, middle, axis=1), found, alphabet),
        graph.node("Slice", attention, graph.integers(0), graph.integers(-1), graph.integers(1)),
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """For each frame [frames] how many words there are up to it.

    `so_far` counts a word from its middle on; `around` from its beginning on, and the end as one word more.
    """

    so_far: str
    around: str


def _find_words(graph: Graph, frames: str, heard: str, alphabet: Alphabet) -> _Words:
    length, half = alphabet.word_frames, alphabet.word_frames // 2
    place = _places(graph, frames)
    label = graph.node("Squeeze", graph.node("ArgMax", frames, axis=2, keepdims=0), graph.integers(0))
    in_run = graph.node("Sub", place, _start_of_run(graph, label))
    voiced = graph.node("Less", label, graph.integers(len(alphabet.words)))
    # The same word twice is one run: its middles are a word apart. A frame more or less at an edge makes no word.
    middle = graph.node("Equal", graph.node("Mod", in_run, graph.integers(length)), graph.integers(half))
    middle = graph.node("And", graph.node("And", middle, voiced), graph.node("Less", place, heard))
    opening = graph.node("And", _at(graph, place, _OPENING), _at(graph, in_run, _OPENING))
    opening = graph.node("And", opening, graph.node("Not", voiced))
    middles = graph.node("Cast", middle, to=INT64)
    openings = graph.node("Cast", opening, to=INT64)
    so_far = graph.node("CumSum", graph.node("Add", middles, openings), graph.scalar(0))
    begun = graph.node("CumSum", _earlier(graph, middles, half), graph.scalar(0))
    begun = graph.node("Add", begun, graph.node("ReduceMax", openings, keepdims=1))
    return _Words(so_far, graph.node("Add", begun, _after_last(graph, place, so_far, length - half)))


def _start_of_run(graph: Graph, label: str) -> str:
    """For each frame the place of the first of those around it that have the same label."""
    before = graph.node("Concat", graph.integers(-1), label, axis=0)
    before = graph.node("Slice", before, graph.integers(0), graph.integers(-1), graph.integers(0))
    changes = graph.node("Not", graph.node("Equal", label, before))
    run = graph.node("CumSum", graph.node("Cast", changes, to=INT64), graph.scalar(0))
    starts = graph.node("Squeeze", graph.node("NonZero", changes), graph.integers(0))
    return graph.node("Gather", starts, graph.node("Sub", run, graph.integers(1)))


def _after_last(graph: Graph, place: str, so_far: str, rest: int) -> str:
    """1 for the frames after the last word, which from its middle has `rest` of them; 0 for the others."""
    last = graph.node("ReduceMax", so_far, keepdims=1)
    middle = graph.node("ArgMax", graph.node("Cast", graph.node("Equal", so_far, last), to=INT64), keepdims=1)
    end = graph.node("Add", middle, graph.integers(rest))
    return graph.node("Cast", graph.node("GreaterOrEqual", place, end), to=INT64)


def _logits(graph: Graph, frames: str, found: str, alphabet: Alphabet) -> str:
    to_words = np.zeros((width(alphabet), tokens.size(alphabet)), np.float32)
    to_words[:, tokens.FIRST_WORD :] = _CERTAIN * np.eye(width(alphabet), dtype=np.float32)
    to_end = np.zeros((1, tokens.size(alphabet)), np.float32)
    to_end[0, tokens.END] = _CERTAIN
    missing = graph.node("Sub", graph.constant(np.ones((1, 1), np.float32)), found)
    word = graph.node("Mul", graph.node("MatMul", frames, graph.constant(to_words)), found)
    return graph.node("Add", word, graph.node("Mul", missing, graph.constant(to_end)))


def _places(graph: Graph, frames: str) -> str:
    count = graph.node("Squeeze", graph.length(frames, 1), graph.integers(0))
    return graph.node("Range", graph.scalar(0), count, graph.scalar(1))


def _at(graph: Graph, values: str, value: int) -> str:
    return graph.node("Equal", values, graph.integers(value))


def _earlier(graph: Graph, values: str, frames: int) -> str:
    padded = graph.node("Pad", values, graph.integers(0, frames))
    return graph.node("Slice", padded, graph.integers(frames), graph.integers(2**31 - 1), graph.integers(0))


def _kernels(alphabet: Alphabet) -> FloatArray:
    """A sine and a cosine of each word's tone, of which one frame is the product [2 words, 1, FRAME]."""
    angles = 2 * np.pi * np.outer(tuple(alphabet.hertz.values()), np.arange(FRAME)) / SAMPLE_RATE
    waves: FloatArray = np.concatenate([np.sin(angles), np.cos(angles)]).astype(np.float32)
    return waves[:, None, :] * np.float32(2 / FRAME)


def _silent_frame(alphabet: Alphabet) -> FloatArray:
    frame = np.zeros((1, 1, width(alphabet)), np.float32)
    frame[..., -1] = _SILENCE_ENERGY
    return frame
