"""What waits to be sent to an engine, in order and bounded. Lives on one event loop."""

import asyncio
import contextlib
from collections import deque

from providers.asr.messages import Clear, Commit, Configure

Control = Configure | Commit | Clear
PIECE_BYTES = 2**16
"""Of audio in one message to an engine: two seconds."""


class Outbox:
    """Audio and commands. `bound`: bytes of audio from which on it is full."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._waiting: deque[bytes | Control] = deque()
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self.audio_bytes = 0

    def put(self, one: bytes | Control) -> None:
        """Takes even what is too much: whoever puts asks for `room` first."""
        self._waiting.append(one)
        if isinstance(one, bytes):
            self.audio_bytes += len(one)
        self._filled.set()
        self._note_room()

    async def get(self) -> bytes | Control:
        await self._filled.wait()
        one = self._waiting.popleft()
        if isinstance(one, bytes):
            self.audio_bytes -= len(one)
        if not self._waiting:
            self._filled.clear()
        self._note_room()
        return one

    async def wait_room(self, longest_s: float) -> None:
        """Until it is no longer full, or so long."""
        if not self._room.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await self._room.wait()

    def clear(self) -> None:
        self._waiting.clear()
        self._filled.clear()
        self.audio_bytes = 0
        self._note_room()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def _note_room(self) -> None:
        if self.audio_bytes < self._bound:
            self._room.set()
        else:
            self._room.clear()
