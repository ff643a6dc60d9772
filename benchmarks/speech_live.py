"""What somebody who speaks is shown, and when. Pure.

Times are seconds on whichever clock the side has that was measured: only differences between them are used.
"""

from collections.abc import Iterable, Sequence
from math import ceil
from statistics import median
from typing import Literal

from benchmarks.load import LoadError
from benchmarks.speech_sounds import Utterance
from providers.spec import Frozen

CHUNK_S = 0.1
SILENCE_MS = 500
"""OpenAI's default."""
SILENCE_S = SILENCE_MS / 1000


class Shown(Frozen):
    """`text` of a delta is what it adds, of a guess or a completed utterance all of it. Guesses are what the recognizer
    says before words are held back until two of them agree; only the library driven directly tells them."""

    at_s: float
    kind: Literal["guess", "delta", "committed", "completed"]
    utterance: str
    text: str = ""


class LiveRun(Frozen):
    """`sent_s`: when each chunk was sent."""

    sent_s: tuple[float, ...]
    shown: tuple[Shown, ...]


class Latencies(Frozen):
    """Milliseconds. `words`: from the chunk that completes a word to the delta that shows it, of those shown while
    somebody speaks; `guesses`: to the first guess that has it. `finals`: from the chunk that ends an utterance to its
    final text, without the silence that has to follow."""

    words: tuple[float, ...]
    guesses: tuple[float, ...]
    finals: tuple[float, ...]

    def medians(self) -> dict[str, float]:
        medians = {"word": median(self.words), "final": median(self.finals)}
        return medians | ({"guess": median(self.guesses)} if self.guesses else {})


def latencies(said: Sequence[Utterance], run: LiveRun) -> Latencies:
    """Raises `LoadError` if something else was heard."""
    completed = [one for one in run.shown if one.kind == "completed"]
    if [one.text for one in completed] != [utterance.text for utterance in said]:
        raise LoadError(f"said was {[one.text for one in said]}, heard {[one.text for one in completed]}")
    words: list[float] = []
    guesses: list[float] = []
    finals: list[float] = []
    for utterance, final in zip(said, completed, strict=True):
        shown = [one for one in run.shown if one.utterance == final.utterance]
        committed_s = next(one.at_s for one in shown if one.kind == "committed")
        while_spoken = [one for one in shown if one.at_s < committed_s]
        ends = [sent_s(end_s, run) for end_s in utterance.word_ends_s]
        words += _waits_ms(ends, _counted_deltas(while_spoken))
        guesses += _waits_ms(ends, [(one.at_s, len(one.text.split())) for one in while_spoken if one.kind == "guess"])
        finals.append((final.at_s - ends[-1] - SILENCE_S) * 1000)
    if not words:
        raise LoadError("no word was shown before its utterance had ended")
    return Latencies(words=tuple(words), guesses=tuple(guesses), finals=tuple(finals))


def sent_s(position_s: float, run: LiveRun) -> float:
    """When the chunk was sent that has the audio up to this position."""
    return run.sent_s[max(0, ceil(position_s / CHUNK_S - 1e-6) - 1)]


def _counted_deltas(shown: Iterable[Shown]) -> list[tuple[float, int]]:
    text, counts = "", []
    for one in shown:
        if one.kind == "delta":
            text += one.text
            counts.append((one.at_s, len(text.split())))
    return counts


def _waits_ms(ends_s: Sequence[float], counts: Sequence[tuple[float, int]]) -> list[float]:
    """For each word that is shown: from its end to the first count that has it."""
    waits = []
    for order, end_s in enumerate(ends_s):
        at_s = next((at_s for at_s, count in counts if count > order), None)
        if at_s is not None:
            waits.append((at_s - end_s) * 1000)
    return waits
