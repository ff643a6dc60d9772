"""Server-sent events: an incremental parser, and the base of translators that rewrite one event at a time.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; one with a comment only keeps a connection alive."""

    data: str = ""
    event: str = ""
    comment: str | None = None

    def encode(self) -> bytes:
        lines = [] if self.comment is None else [f":{self.comment}"]
        if self.event:
            lines.append(f"event: {self.event}")
        if self.data:
            lines += [f"data: {line}" for line in self.data.split("\n")]
        return ("\n".join(lines) + "\n\n").encode()


class SseParser:
    """Turns chunks of bytes, cut anywhere, into whole events. The fields `id` and `retry` are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._event = ""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        lines = (self._rest + chunk).splitlines(keepends=True)
        # A final CR may be the first half of a CRLF, so its line waits for the next chunk.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            yield from self._line(line.rstrip(b"\r\n").decode(errors="replace"))

    def finish(self) -> Iterator[ServerSentEvent]:
        """What a stream that ended without its last blank line still holds."""
        rest, self._rest = self._rest, b""
        yield from self._line(rest.rstrip(b"\r\n").decode(errors="replace"))
        yield from self._dispatch()

    def _line(self, line: str) -> Iterator[ServerSentEvent]:
        if not line:
            yield from self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                yield ServerSentEvent(comment=line[1:])
            case "data":
                self._data.append(value)
            case "event":
                self._event = value

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if data:
            yield ServerSentEvent("\n".join(data), event)


class EventTranslator(ABC):
    """A `StreamTranslator` that sees events instead of bytes. Comments pass through."""

    def __init__(self) -> None:
        self._parser = SseParser()

    @abstractmethod
    def translate(self, event: ServerSentEvent) -> Iterable[ServerSentEvent]:
        """The events that the client gets instead of this one."""

    def end(self) -> Iterable[ServerSentEvent]:
        """The events that the client gets after the engine's last one."""
        return ()

    def feed(self, chunk: bytes) -> bytes:
        return self._translated(self._parser.feed(chunk))

    def finish(self) -> bytes:
        rest = self._translated(self._parser.finish())
        return rest + b"".join(event.encode() for event in self.end())

    def _translated(self, events: Iterable[ServerSentEvent]) -> bytes:
        return b"".join(
            new.encode() for event in events for new in (self.translate(event) if event.comment is None else (event,))
        )
