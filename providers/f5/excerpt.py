"""As much of a long recording as F5-TTS takes well, and of its transcript what is said there."""

import re
from dataclasses import dataclass

import numpy as np

from providers.f5.levels import FRAME_S, frame_levels, quiet_below
from providers.f5.mel import SAMPLE_RATE
from providers.tts.synthesizer import Samples

LONGEST_S = 12.0
SHORTEST_S = 6.0
"""Of an excerpt, if there is a pause after that."""
PAUSE_S = 0.1
CLAUSE = re.compile(r"[.,;:!?…।؟](?=\s)|[。，；：！？、]")
WORD = re.compile(r"\S(?=\s)")


@dataclass(frozen=True, slots=True)
class _Cut:
    sample: int
    character: int
    """How many of each are before it."""
    mismatch: float
    """Between the shares of the sound and of the text that are before it."""


def excerpt(speech: Samples, text: str) -> tuple[Samples, str]:
    """Both whole, if the speech is short enough. Else both end where a pause and the end of a clause fall together
    best, as speech is about as fast throughout; the clone would say what is left of a transcript that is too long."""
    if len(speech) <= LONGEST_S * SAMPLE_RATE:
        return speech, text
    cut = _best_cut(speech, text)
    return speech[: cut.sample], text[: cut.character].strip()


def _best_cut(speech: Samples, text: str) -> _Cut:
    pauses = _pauses(speech) or [round(LONGEST_S * SAMPLE_RATE)]
    ends = _ends(CLAUSE, text) or _ends(WORD, text) or list(range(1, len(text)))
    cuts = [
        _Cut(pause, end, abs(pause / len(speech) - len(text[:end].encode()) / len(text.encode())))
        for pause in pauses
        for end in ends
    ]
    return min(cuts, key=lambda cut: (cut.mismatch, -cut.sample), default=_Cut(pauses[-1], len(text), 0))


def _pauses(speech: Samples) -> list[int]:
    """Samples in the middles of those between the shortest and the longest excerpt."""
    levels = frame_levels(speech)
    quiet = levels < quiet_below(levels)
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    middles = [float(begin + end) / 2 * FRAME_S for begin, end in edges if (end - begin) * FRAME_S >= PAUSE_S]
    return [round(middle * SAMPLE_RATE) for middle in middles if SHORTEST_S <= middle <= LONGEST_S]


def _ends(kind: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in kind.finditer(text) if match.end() < len(text)]
