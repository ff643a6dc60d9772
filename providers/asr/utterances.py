"""Cutting audio into utterances, by detected speech."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from providers.asr.cutting import Began, Cut, quietest, take
from providers.asr.messages import TurnDetection
from providers.asr.recognizer import SAMPLE_RATE, Samples
from providers.asr.tape import Tape
from providers.asr.voice import FRAME, VoiceDetector

HYSTERESIS = 0.15
"""Speech ends at a probability that much lower than it begins at, as Silero's own tools have it."""
SHORTEST_SPEECH = 3
"""Frames: what is shorter is a click."""


@dataclass(slots=True)
class _Speech:
    start: int
    needed: int = SHORTEST_SPEECH
    """Frames of speech that make it an utterance."""
    voiced: list[int] = field(default_factory=list)
    """Where each frame of speech begins."""
    quiet_since: int | None = None
    told: bool = False


class UtteranceCutter:
    """An utterance has up to `prefix_padding_ms` from before its detected start, but nothing of the one before it, and
    ends with `silence_duration_ms` of silence. One that would be longer than `longest_s` is cut where its last fifth is
    quietest, and goes on as the next one. Between utterances as much is kept, for a commit."""

    def __init__(self, detector: VoiceDetector, turns: TurnDetection, longest_s: float, origin: int = 0) -> None:
        self.tape = Tape(origin)
        self._detector = detector
        self._longest = round(longest_s * SAMPLE_RATE)
        self._judged = origin
        self._speech: _Speech | None = None
        self.tune(turns)

    def tune(self, turns: TurnDetection) -> None:
        self._enter = turns.threshold
        self._leave = max(turns.threshold - HYSTERESIS, 0.01)
        # A padding longer than a piece would leave no room for speech.
        self._padding = min(turns.prefix_padding_ms * SAMPLE_RATE // 1000, self._longest // 2)
        self._silence = turns.silence_duration_ms * SAMPLE_RATE // 1000

    @property
    def open_since(self) -> int | None:
        return self._speech.start if self._speech and self._speech.told else None

    def feed(self, samples: Samples) -> list[Cut]:
        self.tape.append(samples)
        cuts = [cut for probability in self._detector.feed(samples) for cut in self._judge(float(probability))]
        if self.open_since is None:
            self.tape.forget(self.tape.end - self._longest)
        return cuts

    def commit(self) -> list[Cut]:
        start = self.tape.begin if self.open_since is None else self.open_since
        self._speech = None
        return [take(self.tape, start, self.tape.end)] if start < self.tape.end else []

    def finish(self) -> list[Cut]:
        return [] if self.open_since is None else self.commit()

    def clear(self) -> None:
        self._speech = None
        self.tape.forget(self.tape.end)

    def _judge(self, probability: float) -> Iterator[Cut]:
        at, self._judged = self._judged, self._judged + FRAME
        if self._speech is None:
            if probability < self._enter:
                return
            self._speech = _Speech(max(at - self._padding, self.tape.begin))
        speech = self._speech
        if probability >= min(self._leave, self._enter):
            speech.quiet_since = None
            speech.voiced.append(at)
            yield from self._tell(speech)
        elif speech.quiet_since is None:
            speech.quiet_since = at
        if speech.quiet_since is not None and self._judged - speech.quiet_since >= self._silence:
            yield from self._end(speech, speech.quiet_since + self._silence)
        elif self._judged + FRAME - speech.start > self._longest:
            yield from self._split(speech)

    def _tell(self, speech: _Speech) -> Iterator[Cut]:
        if not speech.told and len(speech.voiced) >= speech.needed:
            speech.told = True
            yield Began(speech.start)

    def _end(self, speech: _Speech, end: int) -> Iterator[Cut]:
        self._speech = None
        if speech.told:
            yield take(self.tape, speech.start, end)

    def _split(self, speech: _Speech) -> Iterator[Cut]:
        cut = quietest(self.tape, speech.start + self._longest * 4 // 5, self._judged)
        yield from self._end(speech, cut)
        if speech.told:
            # However little of it is left, it is the end of a word, not a click.
            voiced = [at for at in speech.voiced if at + FRAME > cut]
            self._speech = _Speech(cut, needed=1, voiced=voiced, quiet_since=speech.quiet_since)
            yield from self._tell(self._speech)
