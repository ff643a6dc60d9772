"""One HTTP/1.1 connection to an engine, as an asyncio protocol. Spec: https://www.rfc-editor.org/rfc/rfc9112"""

import asyncio
from typing import cast

import httptools

MOST_WAITING = 256 * 1024
"""Bytes of a body that nobody has taken yet: beyond that the engine has to wait."""
BODILESS = (204, 304)


class ConnectionBroken(Exception):
    """The engine did not answer, or not to the end."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EngineConnection(asyncio.Protocol):
    """One request at a time. The methods that begin with `on_` are the parser's."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.idle_since = 0.0
        self.closed = False
        self.status, self.content_type = 0, ""
        self.heard = False
        """Whether anything has come since the request was sent."""
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reader: asyncio.Future[None] | None = None
        self._broken: ConnectionBroken | None = None
        self._headed, self._sized, self._complete, self._keeps_alive = False, False, True, True
        """Of the answer: its head has come; its body's length is known; all has come; another may follow."""
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._paused, self._last = False, False

    @property
    def reusable(self) -> bool:
        return self._complete and self._keeps_alive and not self._pieces and not self.closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio's

    async def ask(self, data: bytes, last: bool) -> None:
        """Send one request; return when the answer's head has come. `last`: no other will follow, whatever the engine
        says. Raises `ConnectionBroken`."""
        self._last = last
        self.heard = self._headed = self._sized = self._complete = False
        if self.closed or self._transport is None:
            raise ConnectionBroken("it closed the connection")
        self._transport.write(data)
        while not self._headed:
            if self._broken is not None:
                raise self._broken
            await self._something()

    def _taken(self) -> bytes:
        """What has come of the body since the last look, without waiting; empty: nothing."""
        if not self._pieces:
            return b""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def next_piece(self) -> bytes:
        """The next of the body; empty at its end. Raises `ConnectionBroken` if that comes too early."""
        while not (piece := self._taken()) and not self._complete:
            if self._broken is not None:
                raise self._broken
            await self._something()
        return piece

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self._complete:
            return self.abort()  # an engine that speaks unasked
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"it does not speak HTTP: {error}")
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._complete:
            return
        if self._headed and not self._sized and exc is None:
            self._complete = True  # its end is the body's end
        else:
            self._break("it closed the connection" if exc is None else f"{type(exc).__name__}: {exc}")
        self._wake()

    def on_message_begin(self) -> None:
        self.content_type = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self.content_type = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self._sized = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200
        self._sized = self._sized or self.status in BODILESS

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._waiting += len(body)
        if self._waiting > MOST_WAITING and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete = True
            self._keeps_alive = not self._last and self._parser.should_keep_alive()

    def _break(self, reason: str) -> None:
        self._broken = self._broken or ConnectionBroken(reason)

    async def _something(self) -> None:
        """Wait until something has come."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
