"""How a slot's Kokoro is loaded, without ever asking the network."""

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from providers.base import ModelFiles, Placement
from providers.errors import ProviderError
from providers.kokoro.files import ADVICE, found
from providers.kokoro.options import KokoroSlot
from providers.kokoro.pronunciation import Pronunciation
from providers.kokoro.styles import Styles
from providers.kokoro.synthesizer import KokoroSynthesizer
from providers.onnx.session import open_session

if TYPE_CHECKING:
    from kokoro_onnx import Kokoro
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

TOKENS = ("tokens", "input_ids")
"""Exports name them either way."""
OTHERS = frozenset({"style", "speed"})
WARM_UP = "həlˈO."


def load(slot: KokoroSlot, model: ModelFiles, placement: Placement) -> KokoroSynthesizer:
    """A model that has spoken once. Takes seconds. Raises `ProviderError`, which says what is wrong with the files or
    the device."""
    files = found(model)
    styles = Styles(files.voices)
    # What it logs of each request is what clients say.
    logging.getLogger("kokoro_onnx").setLevel(logging.WARNING)
    session = open_session(files.model, placement.device, slot.options.threads or placement.cpu_threads)
    _check_inputs(session, files.model)
    kokoro = _over(session)
    try:
        kokoro.create(WARM_UP, styles.of(styles.names[0]), is_phonemes=True)
    except Exception as error:  # the library's errors share no base of their own
        raise ProviderError(f"{files.model} does not speak on {placement.device}: {error}; {ADVICE}") from error
    pronunciation = Pronunciation(kokoro.tokenizer.vocab, placement.cache_dir)
    return KokoroSynthesizer(kokoro, styles, pronunciation)


def _over(session: "InferenceSession") -> "Kokoro":
    """The library wants an archive of voices, and keeps it open. It gets an empty one: each call brings its style."""
    from providers.kokoro.library import Kokoro

    with tempfile.TemporaryDirectory(prefix="kokoro-") as folder:
        empty = Path(folder, "voices.npz")
        np.savez(empty)
        kokoro: Kokoro = Kokoro.from_session(session, str(empty))
        kokoro.voices.close()  # type: ignore[attr-defined]
    return kokoro


def _check_inputs(session: "InferenceSession", path: Path) -> None:
    names = {one.name for one in session.get_inputs()}
    if not names >= OTHERS or names.isdisjoint(TOKENS):
        raise ProviderError(f"{path} takes {', '.join(sorted(names))}: it is no Kokoro; {ADVICE}")
