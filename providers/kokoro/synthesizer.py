"""The synthesizer over `kokoro-onnx`."""

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from providers.errors import InvalidRequest
from providers.kokoro.names import LANGUAGES, LONGEST_PHONEMES, SAMPLE_RATE, language_of
from providers.kokoro.pronunciation import Pronunciation
from providers.kokoro.styles import Styles
from providers.kokoro.symbols import sounds
from providers.kokoro.tempo import shared, stretched
from providers.tts.dialect import unknown_voice
from providers.tts.synthesizer import Manner, Samples, Share

if TYPE_CHECKING:
    from kokoro_onnx import Kokoro

SENTENCE_PAUSE_S, CLAUSE_PAUSE_S = 0.25, 0.1
"""After parts of a text that is too long for the model, at speed 1."""
DEFAULT_LANGUAGE = "en-US"


class KokoroSynthesizer:
    """`model` computes for one request at a time, with all of its threads."""

    sample_rate = SAMPLE_RATE
    longest_text = 250
    """As its makers advise, 100 to 200 phonemes: of more it rushes."""

    def __init__(self, model: "Kokoro", styles: Styles, pronunciation: Pronunciation) -> None:
        self._model: Kokoro | None = model
        self._styles, self._pronunciation = styles, pronunciation
        self._turn = threading.Lock()

    def check(self, manner: Manner) -> None:
        if manner.reference is not None or not manner.blend:
            raise InvalidRequest("Kokoro speaks with voices of its own; it clones none.", "voice", "unsupported_voice")
        for share in manner.blend:
            if share.voice not in self._styles.names:
                raise unknown_voice(share.voice, self._styles.names)
        self._pronunciation.check(language(manner.blend, manner.language))

    def speak(self, text: str, manner: Manner) -> Iterator[Samples]:
        self.check(manner)
        phonemes = self._pronunciation.phonemes(text, language(manner.blend, manner.language))
        style = self._styles.blend(manner.blend)
        own_speed, tempo = shared(manner.speed)
        pause_s = 0.0
        for part, following_s in parts(phonemes):
            with self._turn:
                if self._model is None:
                    raise ValueError("the synthesizer is closed")
                # Pauses within a sentence are the model's own.
                samples, _ = self._model.create(
                    part, style, own_speed, is_phonemes=True, sentence_pause=0.0, clause_pause=0.0
                )
            yield np.pad(
                stretched(samples, tempo, SAMPLE_RATE), (round(pause_s / manner.speed * SAMPLE_RATE), 0)
            ).astype(np.float32, copy=False)
            pause_s = following_s

    def close(self) -> None:
        with self._turn:
            self._model = None
        self._pronunciation.close()


def parts(phonemes: str) -> Iterator[tuple[str, float]]:
    """What the model speaks at once, and the seconds of silence after it."""
    from kokoro_onnx.chunker import pause_after, split_phonemes

    for part in split_phonemes(phonemes, LONGEST_PHONEMES):
        if sounds(part):
            yield part, pause_after(part, SENTENCE_PAUSE_S, CLAUSE_PAUSE_S)


def language(blend: Sequence[Share], wanted: str | None) -> str:
    """That of the first voice, unless another is wanted. Voices whose names tell no language speak all.

    Raises `InvalidRequest` for a language that none of the voices speaks.
    """
    spoken = [language_of(share.voice) for share in blend]
    if wanted is None:
        return spoken[0] or DEFAULT_LANGUAGE
    tag = LANGUAGES.get(wanted, wanted)
    exact = next((one for one in LANGUAGES.values() if one.lower() == tag.lower()), None)
    offered = LANGUAGES.values() if None in spoken else [one for one in spoken if one is not None]
    # Another variety of the same language, if Kokoro has the wanted one at all.
    near = next((one for one in offered if _primary(one) == _primary(tag)), None)
    if near is not None:
        return exact or near
    voices = " and ".join(f"'{share.voice}'" for share in blend)
    speaks = "speaks" if len(blend) == 1 else "speak"
    message = f"Voice {voices} {speaks} {', '.join(sorted(set(offered)))}, not '{wanted}'."
    raise InvalidRequest(f"{message} A voice's first letter tells its language.", "language", "unsupported_language")


def _primary(tag: str) -> str:
    """Of a tag of BCP 47."""
    primary = tag.partition("-")[0].lower()
    return "zh" if primary == "cmn" else primary
