"""The seam between the ingress and an engine of speech recognition: messages on one WebSocket for each session.

The engine listens on `paths.SESSION_PATH` and demands its token as a bearer token. Requests are text, the first one is
`Start`. Audio is in binary messages: signed 16-bit little-endian samples, mono, at `recognizer.SAMPLE_RATE`, any number
of whole samples in each. A file ends with `End`; the engine answers with `Heard` for each segment as it is found, then
`Done`, and closes. A live session has no end but that of its socket, and answers with the other events. Backpressure is
the socket's own: an engine reads no faster than it computes.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from providers.asr.recognizer import Asked, Segment
from providers.spec import Frozen

LARGEST_MESSAGE = 2**20
"""Bytes. Longer audio is sent in several messages."""


class TurnDetection(Frozen):
    """How speech is told from silence. Defaults are OpenAI's for `server_vad`."""

    threshold: float = Field(default=0.5, ge=0, le=1, description="0 to 1; higher takes only louder or clearer speech")
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000, description="audio kept from before detected speech")
    silence_duration_ms: int = Field(default=500, ge=50, le=10_000, description="silence that ends an utterance")


class Start(Frozen):
    """`turns`: None cuts a file as suits the recognizer, and a live session by `Commit` alone."""

    type: Literal["start"] = "start"
    live: bool = False
    asked: Asked = Asked()
    turns: TurnDetection | None = None


class Configure(Frozen):
    """Live: from the next utterance on."""

    type: Literal["configure"] = "configure"
    asked: Asked = Asked()
    turns: TurnDetection | None = None


class Commit(Frozen):
    """Live: what has been heard since the last utterance is one, whether or not speech was detected."""

    type: Literal["commit"] = "commit"


class Clear(Frozen):
    """Live: forget what has been heard since the last utterance, one that has begun included."""

    type: Literal["clear"] = "clear"


class End(Frozen):
    """A file: no more audio comes."""

    type: Literal["end"] = "end"


class Heard(Frozen):
    """A file: its next segment. Times count from the beginning of the audio."""

    type: Literal["heard"] = "heard"
    segment: Segment


class Done(Frozen):
    """A file: everything has been heard. `duration_s` is that of the audio, silence included."""

    type: Literal["done"] = "done"
    duration_s: float
    language: str | None = None
    language_probability: float | None = None


class SpeechStarted(Frozen):
    """Live: utterances count from 0. `at_s` in seconds of audio since the session began, padding included."""

    type: Literal["speech_started"] = "speech_started"
    utterance: int
    at_s: float


class SpeechStopped(Frozen):
    type: Literal["speech_stopped"] = "speech_stopped"
    utterance: int
    at_s: float


class Committed(Frozen):
    """Live: an utterance has all of its audio, by detected silence or by `Commit`; its text follows."""

    type: Literal["committed"] = "committed"
    utterance: int
    start_s: float
    end_s: float


class Cleared(Frozen):
    type: Literal["cleared"] = "cleared"


class Partial(Frozen):
    """Live: the utterance's text so far; a later one may correct it, and the same once more confirms it."""

    type: Literal["partial"] = "partial"
    utterance: int
    text: str


class Final(Frozen):
    """Live: times of the segments count from the beginning of the session's audio."""

    type: Literal["final"] = "final"
    utterance: int
    segments: tuple[Segment, ...]


class Failed(Frozen):
    """One utterance, or with None the whole session, which then is closed. `status` is the HTTP status for a client."""

    type: Literal["failed"] = "failed"
    message: str
    status: int = 500
    code: str | None = None
    param: str | None = None
    utterance: int | None = None


Request = Annotated[Start | Configure | Commit | Clear | End, Field(discriminator="type")]
Event = Annotated[
    Heard | Done | SpeechStarted | SpeechStopped | Committed | Cleared | Partial | Final | Failed,
    Field(discriminator="type"),
]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""`validate_json` reads a message, its own `model_dump_json()` writes one."""
