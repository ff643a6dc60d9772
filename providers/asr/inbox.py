"""What a session's socket has brought and nobody has taken yet."""

import asyncio
from collections import deque

from providers.asr.messages import Request
from providers.asr.recognizer import SAMPLE_RATE
from providers.asr.voice import FRAME
from providers.errors import InvalidRequest

SAMPLE_BYTES = 2
STEP_BYTES = 32 * FRAME * SAMPLE_BYTES
"""The most audio taken at once, about a second: whole frames of the voice detector, and soon done."""
FULL_BYTES = 4 * SAMPLE_RATE * SAMPLE_BYTES
"""About so much may wait; then the socket is not read."""
REQUEST_BYTES = 1024
"""What a waiting request counts for."""

Item = Request | InvalidRequest


class Inbox:
    """On the event loop; any thread may ask whether it `is_empty`."""

    def __init__(self) -> None:
        self._items: deque[bytearray | Item] = deque()
        self._waiting = 0
        self._ended = False
        self._changed = asyncio.Condition()

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return self._waiting >= FULL_BYTES

    async def put(self, item: bytes | Item) -> None:
        """Returns when there is room for more."""
        async with self._changed:
            if self._ended:
                return
            if not isinstance(item, bytes):
                self._items.append(item)
                self._waiting += REQUEST_BYTES
            else:
                self._append(item)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self.is_full or self._ended)

    async def take(self) -> bytes | Item | None:
        """Audio that came in several messages is one. None: it has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._ended)
            if self._ended:
                return None
            item = self._items.popleft()
            taken = self._step_of(item) if isinstance(item, bytearray) else item
            self._waiting -= len(taken) if isinstance(taken, bytes) else REQUEST_BYTES
            self._changed.notify_all()
            return taken

    async def end(self) -> None:
        """What still waits is forgotten: nobody listens."""
        async with self._changed:
            self._ended = True
            self._items.clear()
            self._waiting = 0
            self._changed.notify_all()

    def _step_of(self, audio: bytearray) -> bytes:
        step = bytes(audio[:STEP_BYTES])
        if len(audio) > STEP_BYTES:
            del audio[:STEP_BYTES]
            self._items.appendleft(audio)
        return step

    def _append(self, audio: bytes) -> None:
        if self._items and isinstance(self._items[-1], bytearray):
            self._items[-1].extend(audio)
        elif audio:
            self._items.append(bytearray(audio))
        self._waiting += len(audio)
