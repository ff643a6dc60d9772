"""An account of one session with an engine: what it was sent, and what of that it has settled. Pure."""

from dataclasses import dataclass

from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    Event,
    Failed,
    Final,
    SpeechStarted,
    Start,
)
from providers.asr.recognizer import SAMPLE_RATE
from serve_app.audio.live_outbox import Control
from serve_app.audio.pcm import SAMPLE_BYTES

MOST_KEPT_S = 60.0
BYTES_PER_S = SAMPLE_RATE * SAMPLE_BYTES
SPARE_MS = 160
"""The few frames of the detector that make a word, and one that is not whole yet."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What another engine has to hear. `at_s`: where it begins; `lost_s`: what lay before it and was not kept."""

    at_s: float
    audio: bytes
    lost_s: float


class Account:
    """Seconds count from the first audio that the engine was sent."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._kept = bytearray()
        self._end = self._settled = 0
        self._speech: int | None = None
        """Where the utterance begins that is under way."""
        self._texts_due: set[int] = set()
        self.clears_due = 0
        """How often the engine has yet to say that it has forgotten."""

    @property
    def start(self) -> Start:
        """The session's settings, as far as the engine has been told."""
        return self._start

    @property
    def under_way(self) -> bool:
        """Whether there is an utterance that the engine, or without detection the client, has yet to end."""
        return self._settled < self._end if self._start.turns is None else self._speech is not None

    @property
    def text_due(self) -> bool:
        return bool(self._texts_due)

    def sent(self, one: bytes | Control) -> None:
        match one:
            case bytes():
                self._kept += one
                self._end += len(one)
                self._forget(self._end - round(MOST_KEPT_S * BYTES_PER_S))
            case Configure():
                self._start = self._start.model_copy(update={"asked": one.asked, "turns": one.turns})
            case Clear():
                self.clears_due += 1
                self._settle(self._end)
            case Commit():
                pass

    def heard(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self._speech = _bytes(event.at_s)
            case Committed():
                self._speech = None
                self._settle(_bytes(event.end_s))
                self._texts_due.add(event.utterance)
            case Final(utterance=int(utterance)) | Failed(utterance=int(utterance)):
                self._texts_due.discard(utterance)
            case Cleared():
                self.clears_due -= 1
                self._speech = None

    def unsettled(self) -> Unsettled:
        """Without detection, all that the client has not committed. With it, the utterance that is under way, and else
        what the next one may begin with: not every sound is speech at once, and it has a padding before it."""
        first = self._settled
        turns = self._start.turns
        if turns is not None:
            undecided_ms = turns.prefix_padding_ms + 2 * turns.silence_duration_ms + SPARE_MS
            begin = self._end - _bytes(undecided_ms / 1000)
            first = max(first, begin if self._speech is None else min(begin, self._speech))
        kept_from = self._end - len(self._kept)
        at = max(first, kept_from)
        return Unsettled(at / BYTES_PER_S, bytes(self._kept[at - kept_from :]), (at - first) / BYTES_PER_S)

    def _settle(self, before: int) -> None:
        self._settled = max(self._settled, min(before, self._end))
        self._forget(self._settled)

    def _forget(self, before: int) -> None:
        kept_from = self._end - len(self._kept)
        if before > kept_from:
            del self._kept[: before - kept_from]


def _bytes(seconds: float) -> int:
    """A whole number of samples."""
    return round(seconds * SAMPLE_RATE) * SAMPLE_BYTES
