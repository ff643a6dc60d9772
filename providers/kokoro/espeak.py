"""Text to phonemes by espeak-ng, through `phonemizer`. Both are under GPL 3, and need no network."""

import logging
import re

from providers.kokoro.symbols import TIE, symbols

VOICES = {
    "en-US": "en-us",
    "en-GB": "en-gb",
    "es": "es",
    "fr": "fr-fr",
    "hi": "hi",
    "it": "it",
    "pt-BR": "pt-br",
}
"""espeak-ng's own, by language. Its Japanese and its Mandarin are not of use: it spells kanji out as "Chinese letter",
and Kokoro has no symbols for how it writes tones."""
_MARKS = re.compile(r"""[;:,!?…—"“”()]+(?=[\s;:,.!?…—"“”()]|$)|(?<![^\s"“”(¡¿])["“”(¡¿]+|—|\.+(?=["“”)\s]*$)""")
"""Marks that are spoken as pauses and tones of voice. Those within words, times and numbers are espeak-ng's to read; so
are full stops but the last, as a text is a sentence: others are of abbreviations."""
_LONG_WORD = re.compile(r"(\S{100})(?=\S)")
"""It says nothing of what is in a word beyond some 160 letters."""
_AS_MARKS = str.maketrans("«»।॥{}[]<>", "“”..()()  ")


class Espeak:
    """One language. Not thread-safe, nor is anything else of espeak-ng in this process."""

    def __init__(self, language: str) -> None:
        from phonemizer.backend import EspeakBackend  # type: ignore[import-untyped]

        self._language = language
        log = logging.getLogger("hal0.kokoro.espeak")
        log.setLevel(logging.ERROR)  # it warns of words of other languages, and of what it cannot count
        self._backend = EspeakBackend(
            VOICES[language],
            punctuation_marks=_MARKS,
            preserve_punctuation=True,
            with_stress=True,
            tie=TIE,
            # Else names of languages would be spoken, too.
            language_switch="remove-flags",
            logger=log,
        )

    def __call__(self, text: str) -> str:
        found = self._backend.phonemize([_LONG_WORD.sub(r"\1 ", text.translate(_AS_MARKS))])
        return symbols(found[0], self._language) if found else ""


def forget() -> None:
    """Free what nobody uses any more: `phonemizer` keeps each copy of espeak-ng that it has asked for its voices."""
    from phonemizer.backend.espeak.wrapper import EspeakWrapper  # type: ignore[import-untyped]

    EspeakWrapper.available_voices.cache_clear()
