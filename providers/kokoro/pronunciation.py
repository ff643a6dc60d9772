"""Which phonemes a text is spoken with, in each of Kokoro's languages."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from providers.errors import InvalidRequest, ProviderError
from providers.kokoro import asian
from providers.kokoro.espeak import VOICES, Espeak, forget
from providers.kokoro.names import LANGUAGES
from providers.kokoro.symbols import sounds

LOG = logging.getLogger("hal0.kokoro")
_ONE_AT_A_TIME = threading.Lock()
"""espeak-ng keeps its state in the process, and so do others."""


class Pronunciation:
    """`vocabulary`: the phonemes that the model knows. Thread-safe. Languages are loaded as they are needed."""

    def __init__(self, vocabulary: Collection[str], cache_dir: Path) -> None:
        self._vocabulary, self._cache_dir = frozenset(vocabulary), cache_dir
        self._of: dict[str, Callable[[str], str]] = {}

    def phonemes(self, text: str, language: str) -> str:
        """Those that the model knows; empty if there are none. Raises `InvalidRequest` as `check` does, and
        `ProviderError` if a language's packages do not work."""
        self.check(language)
        # A control character would end the text for espeak-ng, or start a command.
        plain = " ".join("".join(one if one.isprintable() else " " for one in text).split())
        with _ONE_AT_A_TIME:
            said = " ".join(self._phonemizer(language)(plain).split())
        if unknown := Counter(one for one in said if one not in self._vocabulary):
            LOG.info("%d of %d phonemes (%s) are unknown to the model", unknown.total(), len(said), "".join(unknown))
        known = "".join(one for one in said if one in self._vocabulary).strip()
        return known if sounds(known) else ""

    def check(self, language: str) -> None:
        """Raises `InvalidRequest` for a language that nothing here can pronounce."""
        if language in VOICES or (language in asian.EXTRAS and asian.installed(language)):
            return
        if language in asian.EXTRAS:
            raise InvalidRequest(
                f"Language '{language}' needs a package that is not installed here: "
                f"pip install 'hal0[{asian.EXTRAS[language]}]'.",
                "language",
                "unsupported_language",
            )
        known = ", ".join(LANGUAGES.values())
        raise InvalidRequest(
            f"Kokoro does not speak language '{language}'; it speaks: {known}.", "language", "unsupported_language"
        )

    def close(self) -> None:
        with _ONE_AT_A_TIME:
            self._of.clear()
            forget()

    def _phonemizer(self, language: str) -> Callable[[str], str]:
        if language not in self._of:
            self._of[language] = Espeak(language) if language in VOICES else self._asian(language)
        return self._of[language]

    def _asian(self, language: str) -> Callable[[str], str]:
        try:
            return asian.phonemizer(language, self._phonemizer("en-US"), self._cache_dir)
        except (ImportError, RuntimeError, OSError) as error:
            raise ProviderError(
                f"what pronounces '{language}' does not load: {error}; pip install 'hal0[{asian.EXTRAS[language]}]', "
                "into an environment without the package unidic"
            ) from error
