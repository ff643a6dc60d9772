"""A tiny Kokoro that speaks in tones: the text, the voice and the speed can be measured in the samples.

Every phoneme is a sine of `hertz`, for `PHONEME_S` at speed 1; spaces are silence. Its files are named, and their
contents shaped, as those of `kokoro-onnx`'s release model-files-v1.0.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from providers.kokoro.names import LONGEST_PHONEMES, MODEL, SAMPLE_RATE, STYLE_LENGTH, VOICE_NAMES, VOICES
from providers.tiny.folders import model_folder
from providers.tiny.moonshine import require_tools
from providers.tiny.weights import FloatArray

if TYPE_CHECKING:
    from providers.tiny.moonshine_graph import Graph

PHONEME_S = 0.075
LOUDNESS = 0.3
PAD, SPACE = 0, 16
"""Tokens that are silent."""
_BASE_HZ, _TOKEN_HZ, _STYLE_HZ = 140.0, 12.0, 40.0
_STYLE_STEP = 0.1
"""Between the first numbers of the styles of any two voices that follow each other."""


def hertz(token: int, style: FloatArray) -> float:
    """How high a phoneme sounds. `style`: a row of a voice, or of voices blended, of which the first number counts."""
    return _BASE_HZ + _TOKEN_HZ * token + _STYLE_HZ * float(style.ravel()[0])


def make_kokoro(folder: Path) -> None:
    """Make a model and its 54 voices.

    Raises `ToolsMissing` without `onnx`, `OSError` if the folder cannot be written.
    """
    require_tools()
    with model_folder(folder) as draft:
        (draft / MODEL).write_bytes(graph().model().SerializeToString())
        # As `np.savez` writes it, but for the compression: rows repeat, and the demo shall stay small.
        with (draft / VOICES).open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **styles())


def styles() -> dict[str, FloatArray]:
    """Of each voice one style for each number of phonemes [510, 1, 256]; here they are all the same."""
    random = np.random.default_rng(0)
    made: dict[str, FloatArray] = {}
    for order, name in enumerate(VOICE_NAMES):
        style = random.standard_normal(STYLE_LENGTH).astype(np.float32)
        style[0] = (order - len(VOICE_NAMES) // 2) * _STYLE_STEP
        made[name] = np.tile(style, (LONGEST_PHONEMES, 1, 1))
    return made


def graph() -> "Graph":
    """`tokens` [1, N] between two pads, `style` [1, 256] and `speed` [1] to `audio` [samples] and, for each token, its
    `duration` [N] in samples."""
    from providers.tiny.moonshine_graph import FLOAT, INT64, Graph

    made = Graph()
    tokens = made.input("tokens", INT64, [1, "tokens"])
    style = made.input("style", FLOAT, [1, STYLE_LENGTH])
    speed = made.input("speed", FLOAT, [1])

    count = made.length(tokens, 1)
    usual = made.constant(np.array([PHONEME_S * SAMPLE_RATE], np.float32))
    each = made.node("Cast", made.node("Round", made.node("Div", usual, speed)), to=INT64)
    samples = made.node("Squeeze", made.node("Mul", count, each), made.integers(0))
    place = made.node("Range", made.scalar(0), samples, made.scalar(1))
    spoken = made.node("Reshape", tokens, made.integers(-1))
    token = made.node("Gather", spoken, made.node("Div", place, each))

    since = made.node("Cast", made.node("Mod", place, each), to=FLOAT)
    made.output("audio", _tones(made, since, token, _hertz(made, token, style)), FLOAT, ["samples"])
    made.output("duration", made.node("Expand", each, count), INT64, ["tokens"])
    return made


def _hertz(graph: "Graph", token: str, style: str) -> str:
    from providers.tiny.moonshine_graph import FLOAT

    first = graph.node("Slice", style, graph.integers(0), graph.integers(1), graph.integers(1))
    higher = graph.node("Mul", graph.node("Reshape", first, graph.integers(-1)), _number(graph, _STYLE_HZ))
    of_token = graph.node("Mul", graph.node("Cast", token, to=FLOAT), _number(graph, _TOKEN_HZ))
    return graph.node("Add", graph.node("Add", of_token, _number(graph, _BASE_HZ)), higher)


def _tones(graph: "Graph", since: str, token: str, hertz: str) -> str:
    """`since`: samples from the beginning of each phoneme, where its wave begins. Counted in turns, of which whole ones
    are left out: devices differ in the sines of large numbers."""
    turns = graph.node("Mul", graph.node("Div", since, _number(graph, SAMPLE_RATE)), hertz)
    turns = graph.node("Sub", turns, graph.node("Floor", turns))
    wave = graph.node("Sin", graph.node("Mul", turns, _number(graph, 2 * np.pi)))
    silent = graph.node("Or", *(graph.node("Equal", token, graph.integers(one)) for one in (PAD, SPACE)))
    loudness = graph.node("Where", silent, _number(graph, 0.0), _number(graph, LOUDNESS))
    return graph.node("Mul", wave, loudness)


def _number(graph: "Graph", value: float) -> str:
    return graph.constant(np.array([value], np.float32))
