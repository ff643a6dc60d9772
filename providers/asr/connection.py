"""One session's WebSocket: its messages in, its events out, and its work in the threads between."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

import numpy as np
from aiohttp import WSMessage, WSMsgType, web
from pydantic import ValidationError

from providers.asr.hearing import failure, logger
from providers.asr.inbox import SAMPLE_BYTES, Inbox, Item
from providers.asr.messages import REQUEST, Event, Failed, Start
from providers.asr.recognizer import Samples
from providers.asr.session import Listener, Session
from providers.errors import InvalidRequest
from providers.native.workers import Workers

WATCH_S = 0.5
LONGEST_COMPLAINT = 200
"""Characters of what is wrong with a message, which may repeat it."""

OpenSession = Callable[[Start, Listener], Session]


class Connection:
    """A `Listener`. Reads no faster than the session computes, and computes no faster than its events are read."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        workers: Workers,
        open_session: OpenSession,
    ) -> None:
        self._socket, self._transport = socket, transport
        self._workers, self._open_session = workers, open_session
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._outbox: deque[Event] = deque()
        self._told = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._deaf = False
        """Whether the socket takes no more events."""
        self._gone = False
        self._turn = threading.Lock()
        """A session is computed by one thread at a time, its end included."""

    async def serve(self) -> None:
        """Until the session is over or its socket closed. The socket is closed afterwards."""
        parts = [asyncio.create_task(part) for part in (self._read(), self._send(), self._watch())]
        try:
            await self._work()
            await self._sent()
        finally:
            self._gone = True
            for part in parts:
                part.cancel()
            for ended in await asyncio.gather(*parts, return_exceptions=True):
                if isinstance(ended, Exception):
                    logger.error("a session's socket failed: %s", ended, exc_info=ended)
            await self._socket.close()

    async def hang_up(self, reason: str) -> None:
        """Say why, and end after what is being computed."""
        self._add(Failed(message=reason, status=503))
        self._gone = True
        await self._inbox.end()

    def abort(self) -> None:
        """Whoever does not read would keep a closed socket with what it has not read."""
        if self._transport is not None:
            self._transport.abort()

    def tell(self, event: Event) -> None:
        if not self._gone:
            self._loop.call_soon_threadsafe(self._add, event)

    def gone(self) -> bool:
        return self._gone

    def behind(self) -> bool:
        return not self._inbox.is_empty

    async def _work(self) -> None:
        start = await self._inbox.take()
        if start is None:
            return
        if not isinstance(start, Start):
            self._add(failure(InvalidRequest("The first message of a session must be 'start'.")))
            return
        session = self._open_session(start, self)
        try:
            while not session.over and (item := await self._inbox.take()) is not None:
                try:
                    await self._workers.run(self._step, session, item)
                except InvalidRequest as error:
                    self._add(failure(error))
                    if not start.live:
                        return
                await self._sent()
        except Exception as error:
            self._add(failure(error))
        finally:
            self._workers.submit(self._close, session)

    def _step(self, session: Session, item: bytes | Item) -> None:
        with self._turn:
            if self._gone:
                return
            if isinstance(item, bytes):
                session.feed(samples_of(item))
            elif isinstance(item, InvalidRequest):
                raise item
            else:
                session.obey(item)

    def _close(self, session: Session) -> None:
        with self._turn:
            session.close()

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                await self._inbox.put(understood(message))
        finally:
            self._gone = True
            await self._inbox.end()

    async def _watch(self) -> None:
        """A socket that is not read does not tell that its client has left; writing to it does."""
        try:
            while True:
                await asyncio.sleep(WATCH_S)
                if self._inbox.is_full:
                    await self._socket.ping()
        except ConnectionError:
            self._gone = True
            await self._inbox.end()

    async def _send(self) -> None:
        # A socket that is closed meanwhile is noticed by the one who reads.
        with contextlib.suppress(ConnectionError):
            while True:
                await self._told.wait()
                await self._socket.send_str(self._outbox[0].model_dump_json())
                self._outbox.popleft()
                if not self._outbox:
                    self._told.clear()
                    self._all_sent.set()
        self._deaf = True
        self._outbox.clear()
        self._all_sent.set()

    async def _sent(self) -> None:
        await self._all_sent.wait()

    def _add(self, event: Event) -> None:
        if not self._deaf:
            self._outbox.append(event)
            self._all_sent.clear()
            self._told.set()


def understood(message: WSMessage) -> bytes | Item:
    if message.type is WSMsgType.BINARY:
        if len(message.data) % SAMPLE_BYTES:
            return InvalidRequest("A message of audio must have whole samples: signed 16-bit, little-endian, mono.")
        return bytes(message.data)
    try:
        return REQUEST.validate_json(message.data if message.type is WSMsgType.TEXT else "")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"][:LONGEST_COMPLAINT]
        return InvalidRequest(f"Not a message of a session: {where or 'JSON'}: {what}.", where or None)


def samples_of(audio: bytes) -> Samples:
    samples: Samples = np.frombuffer(audio, "<i2").astype(np.float32) / np.float32(32768)
    return samples
