"""What differs in vLLM's streams: the name of reasoning, and errors. All else passes as the bytes that it is."""

import json

from providers.base import StreamTranslator
from providers.vllm.dialect.errors import streamed_error

END_OF_EVENT = b"\n\n"
_REASONING, _REASONING_CONTENT = b'"reasoning":', b'"reasoning_content":'
"""As a key of JSON; in a text, its quotes would have backslashes before them."""
_ERROR = b'data: {"error":'


class ChatEvents:
    """Whole events of a chat or a completion."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        if self._rest or not chunk.endswith(END_OF_EVENT):
            whole, end, self._rest = (self._rest + chunk).rpartition(END_OF_EVENT)
            chunk = whole + end
        return self._translated(chunk)

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return self._translated(rest)

    @staticmethod
    def _translated(events: bytes) -> bytes:
        if _ERROR in events:
            events = END_OF_EVENT.join(map(_mended, events.split(END_OF_EVENT)))
        return events.replace(_REASONING, _REASONING_CONTENT)


def _mended(event: bytes) -> bytes:
    if not event.startswith(_ERROR):
        return event
    try:
        error = json.loads(event.removeprefix(b"data: "))["error"]
    except ValueError:
        return event
    return b"data: " + json.dumps({"error": streamed_error(error)}).encode()


class Chained:
    """One translator after another."""

    def __init__(self, first: StreamTranslator, second: StreamTranslator) -> None:
        self._first, self._second = first, second

    def feed(self, chunk: bytes) -> bytes:
        return self._second.feed(self._first.feed(chunk))

    def finish(self) -> bytes:
        return self._second.feed(self._first.finish()) + self._second.finish()
