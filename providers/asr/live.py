"""A session that hears somebody who is speaking."""

from collections.abc import Callable, Iterable

import numpy as np

from providers.asr.cutting import Began, BlockCutter, Cut, Piece
from providers.asr.hearing import Hearing, failure, logger
from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    End,
    Final,
    Partial,
    SpeechStarted,
    SpeechStopped,
    Start,
    TurnDetection,
)
from providers.asr.recognizer import Recognizer, Samples, Segment
from providers.asr.session import Listener
from providers.asr.spoken import Spoken
from providers.asr.tape import seconds
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import VoiceDetector
from providers.errors import InvalidRequest


class LiveSession:
    """Utterances end by detected silence, or without `turns` by `Commit` alone; those have no text before that."""

    over = False

    def __init__(
        self,
        recognizer: Recognizer,
        detector: Callable[[], VoiceDetector],
        start: Start,
        interval_s: float,
        listener: Listener,
    ) -> None:
        self._hearing = Hearing(recognizer, listener.gone)
        self._detector, self._longest_s = detector, recognizer.longest_piece_s
        self._interval_s, self._listener = interval_s, listener
        self._asked, self._turns = start.asked, start.turns
        self._cutter = self._cutter_for(start.turns, 0)
        self._wanted: Configure | None = None
        """From the next utterance on."""
        self._number = 0
        self._began = False
        """Whether the client knows of utterance `number`."""
        self._spoken: Spoken | None = None
        self._deaf = False
        """Whether the utterance cannot be recognized before its end."""

    def feed(self, samples: Samples) -> None:
        self._hear(self._cutter.feed(samples))
        self._follow()

    def obey(self, request: Start | Configure | Commit | Clear | End) -> None:
        match request:
            case Configure():
                self._wanted = request
            case Commit():
                self._commit()
            case Clear():
                self._clear()
            case _:
                raise InvalidRequest(f"A live session that has started knows no '{request.type}'.")
        self._configure()

    def close(self) -> None:
        spoken, self._spoken = self._spoken, None
        self._deaf = False
        if spoken is not None:
            spoken.close()

    def _commit(self) -> None:
        # Silence may have ended the last utterance while this was on its way: there is nothing left, and that is heard.
        self._hear(self._cutter.commit() or [Piece(np.empty(0, np.float32), self._cutter.tape.end)])

    def _clear(self) -> None:
        self._cutter.clear()
        self.close()
        if self._began:
            self._began = False
            self._number += 1
        self._listener.tell(Cleared())

    def _hear(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            if self._listener.gone():
                return
            match cut:
                case Began(start):
                    self._began = True
                    self._listener.tell(SpeechStarted(utterance=self._number, at_s=seconds(start)))
                case Piece():
                    self._finish(cut)
        self._configure()

    def _finish(self, piece: Piece) -> None:
        number, self._number = self._number, self._number + 1
        start_s, end_s = seconds(piece.start), seconds(piece.end)
        if self._began:
            self._listener.tell(SpeechStopped(utterance=number, at_s=end_s))
        self._began = False
        self._listener.tell(Committed(utterance=number, start_s=start_s, end_s=end_s))
        try:
            self._listener.tell(Final(utterance=number, segments=tuple(self._segments(piece))))
        except Exception as error:
            self._listener.tell(failure(error, number))
        finally:
            self.close()

    def _segments(self, piece: Piece) -> Iterable[Segment]:
        if not len(piece.samples):
            return ()
        return self._spoken.finish(piece) if self._spoken else self._hearing.segments(piece, self._asked)

    def _follow(self) -> None:
        """Hear on in the utterance that is being spoken. What fails here is told when it ends."""
        start = self._cutter.open_since
        if start is None or self._deaf or self._listener.gone():
            return
        try:
            if self._spoken is None:
                self._spoken = Spoken(self._hearing, self._asked, start, self._interval_s)
            self._spoken.follow(self._cutter.tape)
            text = self._spoken.news(self._cutter.tape) if self._began and not self._listener.behind() else None
        except Exception as error:
            logger.warning("an utterance has no text before its end: %s", error)
            self.close()
            self._deaf = True
            return
        if text is not None:
            self._listener.tell(Partial(utterance=self._number, text=text))

    def _configure(self) -> None:
        if self._wanted is None or self._began:
            return
        wanted, self._wanted = self._wanted, None
        self.close()
        self._asked, before = wanted.asked, self._turns
        self._turns = wanted.turns
        if isinstance(self._cutter, UtteranceCutter) and wanted.turns is not None:
            self._cutter.tune(wanted.turns)
        elif before != wanted.turns:
            tape = self._cutter.tape
            self._cutter = self._cutter_for(wanted.turns, tape.begin)
            self._hear(self._cutter.feed(tape.read(tape.begin, tape.end)))

    def _cutter_for(self, turns: TurnDetection | None, origin: int) -> BlockCutter | UtteranceCutter:
        if turns is None:
            return BlockCutter(self._longest_s, origin)
        return UtteranceCutter(self._detector(), turns, self._longest_s, origin)
