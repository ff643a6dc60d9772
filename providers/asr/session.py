"""One client's audio, computed by one thread at a time; and a session that hears a file."""

from collections import defaultdict
from typing import Protocol

from providers.asr.cutting import Cut, Cutter, Piece
from providers.asr.hearing import Hearing
from providers.asr.messages import Clear, Commit, Configure, Done, End, Event, Heard, Start
from providers.asr.recognizer import Asked, Recognizer, Samples, Segment
from providers.asr.tape import seconds
from providers.errors import InvalidRequest


class Listener(Protocol):
    """Who is told what is heard, from any thread."""

    def tell(self, event: Event) -> None: ...

    def gone(self) -> bool:
        """Nobody listens any more."""

    def behind(self) -> bool:
        """More audio waits already."""


class Session(Protocol):
    """Raises `InvalidRequest` for a request that it does not know, and whatever its recognizer raises."""

    over: bool

    def feed(self, samples: Samples) -> None: ...

    def obey(self, request: Start | Configure | Commit | Clear | End) -> None: ...

    def close(self) -> None:
        """Free what it holds."""


class FileSession:
    def __init__(self, recognizer: Recognizer, cutter: Cutter, asked: Asked, listener: Listener) -> None:
        self.over = False
        self._hearing = Hearing(recognizer, listener.gone, one_language=True)
        self._cutter, self._asked, self._listener = cutter, asked, listener
        self._languages = _Languages(asked.language)

    def feed(self, samples: Samples) -> None:
        self._hear(self._cutter.feed(samples))

    def obey(self, request: Start | Configure | Commit | Clear | End) -> None:
        if not isinstance(request, End):
            raise InvalidRequest(f"A session that hears a file knows no '{request.type}' after its start.")
        self._hear(self._cutter.finish())
        duration_s = seconds(self._cutter.tape.end)
        self._listener.tell(
            Done(
                duration_s=duration_s,
                language=self._languages.most_spoken,
                language_probability=self._languages.probability,
            )
        )
        self.over = True

    def close(self) -> None:
        self._cutter.clear()

    def _hear(self, cuts: list[Cut]) -> None:
        for piece in cuts:
            if isinstance(piece, Piece) and not self._listener.gone():
                for segment in self._hearing.segments(piece, self._asked):
                    self._languages.add(segment)
                    self._listener.tell(Heard(segment=segment))


class _Languages:
    """Which one is spoken for how long. A first guess may be mistaken; the answer has but one language."""

    def __init__(self, asked: str | None) -> None:
        self._asked = asked
        self._spoken_s: dict[str, float] = defaultdict(float)
        self._detected_s: dict[str, float] = defaultdict(float)
        self._certain_s: dict[str, float] = defaultdict(float)
        """Speech whose language was detected, weighted by how probable it is."""

    def add(self, segment: Segment) -> None:
        if segment.language is not None:
            spoken_s = max(segment.end_s - segment.start_s, 0.001)
            self._spoken_s[segment.language] += spoken_s
            if segment.language_probability is not None:
                self._detected_s[segment.language] += spoken_s
                self._certain_s[segment.language] += spoken_s * segment.language_probability

    @property
    def most_spoken(self) -> str | None:
        return max(self._spoken_s, key=self._spoken_s.__getitem__, default=self._asked)

    @property
    def probability(self) -> float | None:
        language = self.most_spoken
        return self._certain_s[language] / self._detected_s[language] if language in self._detected_s else None
