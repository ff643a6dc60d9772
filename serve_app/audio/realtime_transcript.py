"""Texts that only grow, from an engine's guesses that change. Pure."""

import re
from os.path import commonprefix

UNSPACED = r"\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff9f"
"""Scripts that write without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
WORD = re.compile(rf"\s*(?:[{UNSPACED}]|[^\s{UNSPACED}]+)")


class GrowingText:
    """What a client has been sent of one utterance: the words on which two successive guesses agree."""

    def __init__(self) -> None:
        self._sent = ""
        self._last_guess: list[str] = []

    def guess(self, text: str) -> str:
        """What to send for one more guess; perhaps nothing."""
        words = WORD.findall(text.strip())
        agreed = "".join(commonprefix([self._last_guess, words]))
        self._last_guess = words
        return self._continued(agreed)

    def end(self, text: str) -> str:
        """What the final text adds; nothing if it takes back what has been sent."""
        return self._continued(text)

    def _continued(self, text: str) -> str:
        if not text.startswith(self._sent):
            return ""
        more = text[len(self._sent) :]
        self._sent = text
        return more
