"""Texts that only grow, from an engine's guesses that change. Pure."""

import re
from collections.abc import Sequence
from os.path import commonprefix

from providers.asr.recognizer import Segment

UNSPACED = r"\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff9f"
"""Scripts that write without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
WORD = re.compile(rf"\s*(?:[{UNSPACED}]|[^\s{UNSPACED}]+)")
ENDS_UNSPACED = re.compile(rf"[{UNSPACED}]$")
BEGINS_UNSPACED = re.compile(rf"[{UNSPACED}]")


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


def joined(segments: Sequence[Segment]) -> str:
    """The text of all segments, with spaces between those whose scripts have them."""
    whole = ""
    for text in (segment.text.strip() for segment in segments):
        apart = whole and text and not (ENDS_UNSPACED.search(whole) and BEGINS_UNSPACED.match(text))
        whole += f" {text}" if apart else text
    return whole
