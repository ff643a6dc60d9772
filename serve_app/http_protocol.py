"""A client's connection to the ingress's own HTTP server: uvicorn's protocol, with fewer system calls, and bounds."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.errors import BadRequest, answer_for
from serve_app.http_io import dump_json

LINGER_S = 2.0
FLUSH_BYTES = 64 * 1024
"""An answer that is written without a pause goes out in pieces of this size, so that the transport can ask for one."""
MAX_HEAD_BYTES = 64 * 1024
NOT_HTTP = BadRequest(400, "This is not a valid HTTP/1.1 request.", "invalid_http")
HEAD_TOO_LARGE = BadRequest(
    431, f"The request's headers are larger than {MAX_HEAD_BYTES // 1024} KiB.", "headers_too_large"
)
REFUSED = b"HTTP/1.1 %d Refused\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class CorkedTransport:
    """A transport that sends at the end of the loop's turn what was written in it: the head of an answer and its body
    are two writes, and a system call is what costs most in a short answer."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, still_coming: Callable[[], bool]
    ) -> None:
        """`still_coming`: whether the client has not sent all of its request yet."""
        self._transport, self._loop, self._still_coming = transport, loop, still_coming
        self.lingers = False
        self._pieces: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        """All that is not about writing is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces, self._size = [], 0
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """A client that is still sending would lose its answer with the connection, so it may send to the end, but not
        for long: https://www.rfc-editor.org/rfc/rfc9112#section-9.6"""
        self.flush()
        if self._still_coming() and not self._transport.is_closing():
            if not self.lingers:
                self.lingers = True
                self._transport.resume_reading()
                if self._transport.can_write_eof():
                    self._transport.write_eof()
                self._loop.call_later(LINGER_S, self._transport.close)
        else:
            self._transport.close()


class EdgeProtocol(HttpToolsProtocol):
    """Its `on_` methods are called by the parser."""

    _in_head, _unfinished_head = True, 0
    """Whether a head is expected or has begun, and how many bytes of it have come."""
    _moved_on = False
    """Whether what has just come ended a head or a message."""
    _refusal, _refused = NOT_HTTP, False
    _last = False
    """Whether the next answer is the last one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        corked = CorkedTransport(transport, self.loop, lambda: self._refused or not self._in_head)
        super().connection_made(corked)  # type: ignore[arg-type]
        # uvicorn minds idle connections only once they have been answered something.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._moved_on = False
        super().data_received(data)
        if self._in_head and not self._moved_on:
            self._unfinished_head += len(data)
            if self._unfinished_head > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refusal = HEAD_TOO_LARGE
                self.send_400_response("")

    def on_headers_complete(self) -> None:
        self._in_head, self._unfinished_head, self._moved_on = False, 0, True
        super().on_headers_complete()
        if self._last and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = self._moved_on = True
        if cast(CorkedTransport, self.transport).lingers:
            self.transport.close()

    def leave(self) -> None:
        """Close with the next answer whose head can say so: a client that was promised an open connection may have sent
        a request already, or do so when an answer that has begun is over. One that sends none is closed as ever."""
        self._last = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """A WebSocket has its own protocol, which writes whole frames."""
        corked: Any = self.transport
        corked.flush()
        self.transport = corked._transport
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refused = True
        answer = answer_for(self._refusal)
        body = dump_json(answer.openai())
        head = (
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % (answer.status, len(body)) + body)
        self.transport.close()
