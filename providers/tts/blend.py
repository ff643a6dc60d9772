"""How clients write a voice that is mixed of several: `af_bella(2)+af_sky(1)`. Pure.

The syntax is that of https://github.com/remsky/Kokoro-FastAPI: names joined by `+`, each perhaps with its ratio.
"""

import re
from collections.abc import Callable, Iterable, Mapping

RATIOS = (0.001, 1000.0)
MOST_VOICES = 16
LONGEST_NAME = 200

Shares = Mapping[str, float]
"""Voices and their weights, which are positive and sum to 1."""

_PART = re.compile(r"([^()]+)(?:\(\s*([0-9]{1,20}|[0-9]{0,20}\.[0-9]{1,20})\s*\)\s*)?")


def parsed(text: str) -> Shares:
    """Raises ValueError, whose message ends a sentence that names the text."""
    return _normalised(_ratio(part) for part in text.split("+"))


def expanded(shares: Shares, meaning: Callable[[str], Shares]) -> Shares:
    """With each voice replaced by what it means, be it a blend itself. Raises what `meaning` raises, and ValueError."""
    return _normalised(
        (voice, weight * inner) for name, weight in shares.items() for voice, inner in meaning(name).items()
    )


def _ratio(part: str) -> tuple[str, float]:
    found = _PART.fullmatch(part)
    name = found[1].strip() if found else ""
    if not found or not name:
        raise ValueError("voices are joined by '+', each perhaps with its ratio, as in 'first(2)+second(1)'")
    ratio = float(found[2] or 1)
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name of a voice has at most {LONGEST_NAME} characters")
    if not RATIOS[0] <= ratio <= RATIOS[1]:
        raise ValueError(f"a ratio is from {RATIOS[0]:g} to {RATIOS[1]:g}")
    return name, ratio


def _normalised(ratios: Iterable[tuple[str, float]]) -> Shares:
    """A voice that is named twice counts twice."""
    sums: dict[str, float] = {}
    for voice, ratio in ratios:
        sums[voice] = sums.get(voice, 0.0) + ratio
    if len(sums) > MOST_VOICES:
        raise ValueError(f"at most {MOST_VOICES} voices can be mixed")
    total = sum(sums.values())
    return {voice: ratio / total for voice, ratio in sums.items()}
