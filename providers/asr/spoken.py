"""An utterance while it is being spoken."""

import time
from collections.abc import Iterator

from providers.asr.cutting import Piece
from providers.asr.hearing import Hearing
from providers.asr.recognizer import SAMPLE_RATE, Asked, Segment
from providers.asr.tape import Tape


class Spoken:
    """`start` in samples since the beginning of all audio. Close it, whatever happens."""

    def __init__(self, hearing: Hearing, asked: Asked, start: int, interval_s: float) -> None:
        self._hearing, self._asked, self._start = hearing, asked, start
        self._interval = round(interval_s * SAMPLE_RATE)
        self._next = start + self._interval
        self._utterance = hearing.utterance(asked)
        self._fed = start
        self._text = ""
        self._told_twice = False

    def follow(self, tape: Tape) -> None:
        if self._utterance is not None and self._fed < tape.end:
            self._utterance.feed(tape.read(self._fed, tape.end))
            self._fed = tape.end

    def news(self, tape: Tape) -> str | None:
        """The text so far, if it is time for one and it is news, as is that it has not changed. All of it computes for
        half of the time at most, so that the end of an utterance is soon heard."""
        if tape.end < self._next:
            return None
        began = time.monotonic()
        if self._utterance is not None:
            text = self._utterance.text().strip()
        else:
            text = self._hearing.text(tape.read(self._start, tape.end), self._asked)
        took = round((time.monotonic() - began) * SAMPLE_RATE)
        self._next = tape.end + max(self._interval, 2 * took)
        unchanged = text == self._text
        if not text or (unchanged and self._told_twice):
            return None
        self._text, self._told_twice = text, unchanged
        return text

    def finish(self, piece: Piece) -> Iterator[Segment]:
        """The segments, when all of the utterance is there."""
        utterance = self._utterance
        if utterance is not None and self._fed <= piece.end:
            rest = piece.samples[self._fed - piece.start :]
            if len(rest):
                utterance.feed(rest)
            return self._hearing.segments(piece, self._asked, utterance)
        # An overlong one is cut before what it was fed last.
        return self._hearing.segments(piece, self._asked)

    def close(self) -> None:
        if self._utterance is not None:
            self._utterance.close()
