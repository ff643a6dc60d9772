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
        """Takes even what is too much: whoever puts asks for `room` first. No audio of no length."""
        for piece in _pieces(one):
            self._waiting.append(piece)
        self._grown(one)

    def put_first(self, audio: bytes) -> None:
        """Before all that waits."""
        self._waiting.extendleft(reversed(_pieces(audio)))
        self._grown(audio)

    async def get(self, longest_s: float) -> bytes | Control | None:
        """A message. None: so long there was none."""
        if not await _happened(self._filled, longest_s):
            return None
        one = self._waiting.popleft()
        if isinstance(one, bytes):
            self.audio_bytes -= len(one)
        if not self._waiting:
            self._filled.clear()
        self._note_room()
        return one

    async def wait_room(self, longest_s: float) -> None:
        """Until it is no longer full, or so long."""
        await _happened(self._room, longest_s)

    def clear(self) -> None:
        self._waiting.clear()
        self._filled.clear()
        self.audio_bytes = 0
        self._note_room()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def _grown(self, by: bytes | Control) -> None:
        if isinstance(by, bytes):
            self.audio_bytes += len(by)
        if self._waiting:
            self._filled.set()
        self._note_room()

    def _note_room(self) -> None:
        if self.audio_bytes < self._bound:
            self._room.set()
        else:
            self._room.clear()


def _pieces(one: bytes | Control) -> list[bytes | Control]:
    if not isinstance(one, bytes):
        return [one]
    return [one[at : at + PIECE_BYTES] for at in range(0, len(one), PIECE_BYTES)]


async def _happened(event: asyncio.Event, longest_s: float) -> bool:
    if not event.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await event.wait()
    return event.is_set()
