"""The answer to one request, which may begin before anybody knows what it will be."""

from starlette.types import Send

from serve_app.errors import answer_for
from serve_app.http_io import RawHeaders, dump_json, send_chunk, send_end, send_start, send_whole

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: clients of event streams skip it. https://html.spec.whatwg.org/multipage/server-sent-events.html"""


class Reply:
    """Whole, or a stream of events. Once the stream has begun the status is gone, and an error is its last event."""

    def __init__(self, send: Send, anthropic: bool) -> None:
        self._send, self._anthropic = send, anthropic
        self.begun = False

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if self.begun:
            # An engine that does not stream what it was asked to stream: its answer is the one event.
            await self.chunk(b"data: " + body + b"\n\n")
            return await self.end()
        self.begun = True
        await send_whole(self._send, status, headers, body)

    async def begin_stream(self, status: int = 200) -> None:
        if not self.begun:
            self.begun = True
            await send_start(self._send, status, STREAM_HEADERS)

    async def chunk(self, chunk: bytes) -> None:
        await send_chunk(self._send, chunk)

    async def end(self) -> None:
        await send_end(self._send)

    async def fail(self, error: Exception) -> None:
        """End the stream with an event. It begins with an empty line, since an engine may have died within one."""
        answer = answer_for(error)
        if self._anthropic:
            await self.chunk(b"\n\nevent: error\ndata: " + dump_json(answer.anthropic()) + b"\n\n")
        else:
            await self.chunk(b"\n\ndata: " + dump_json(answer.openai()) + b"\n\n")
        await self.end()
