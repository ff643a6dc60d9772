"""A client's audio on its way to an engine, and what the engine hears of it on the way back.

Positions are seconds of the client's audio since it began; those of an engine begin anew with each engine session.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from providers.asr.messages import Clear, Cleared, Commit, Committed, Configure, Event, Start
from providers.asr.recognizer import Asked
from providers.base import JsonObject
from providers.errors import ProviderError
from serve_app.audio.live_account import BYTES_PER_S, MOST_KEPT_S, Account
from serve_app.audio.live_engine import LiveEngine
from serve_app.audio.live_outbox import Outbox
from serve_app.audio.pcm import Converter
from serve_app.audio.realtime_items import Items
from serve_app.audio.realtime_settings import Settings
from serve_app.audio.realtime_socket import error_event
from serve_app.errors import Answer, BadRequest, ServingError, answer_for, type_of

logger = logging.getLogger("hal0.live")

WAITING_S = 300.0
"""Of audio for an engine at work, from which on the client is not read: what it sends waits with it."""
PAUSE_S = 10.0
"""Then its next event is read all the same: of a socket that is never read, nobody notices that it has closed."""
MOST_WAITING_S = 600.0
"""From which on audio is refused."""
SHORTEST_COMMIT_S = 0.1
ROUNDING_S = 1e-6
CONVERTED_AT_ONCE = 2**15
"""Bytes; then the event loop has a turn."""
LONGEST_PAUSE_S = 30.0
"""Between engine sessions that tell nothing. The second comes at once, the third after a second, and so on."""

Tell = Callable[[JsonObject], Awaitable[None]]


class Conversation:
    """`tell` sends an event to the client. An engine is used from the first need on, another if that is lost, and
    another, which may be the same, if its slot has had to give way."""

    def __init__(self, settings: Settings, engine: LiveEngine, tell: Tell) -> None:
        self._settings, self._engine, self._tell = settings, engine, tell
        self._converter = Converter(settings.format)
        self._outbox = Outbox(round(WAITING_S * BYTES_PER_S))
        self._needed = asyncio.Event()
        self._started: Start | None = None
        self._account: Account | None = None
        self._again = b""
        """What the last engine was sent and the next has to hear, if there is one."""
        self._engine_is_there = False
        self._at_s = self._engine_from_s = self._committed_s = 0.0
        self._vain_sessions = 0
        self.items = Items()

    @property
    def busy(self) -> bool:
        """Whether the client has reason to wait."""
        return self.items.committed or bool(self._outbox)

    @property
    def has_audio(self) -> bool:
        return self._at_s > 0

    def configure(self, settings: Settings, engine: LiveEngine) -> None:
        """From the next utterance on. Only before any audio may `engine` be another slot's."""
        if settings.format != self._settings.format:
            self._put(self._converter.finish())
            self._converter = Converter(settings.format)
        self._settings, self._engine = settings, engine
        if self._started is not None:
            self._outbox.put(Configure(asked=_asked(settings), turns=settings.turns))
        self._needed.set()

    async def append(self, audio: bytes) -> None:
        """Raises `BadRequest` for what is not whole samples, and when too much waits already."""
        source = self._settings.format
        if len(audio) % source.sample_bytes:
            message = f"'audio' ends within a sample: {source.encoding} has {source.sample_bytes} bytes in each."
            raise BadRequest(400, message, "invalid_value", "audio")
        if self._engine_is_there:
            await self._outbox.wait_room(PAUSE_S)
        if self._outbox.audio_bytes > MOST_WAITING_S * BYTES_PER_S:
            message = f"{MOST_WAITING_S:g} s of audio wait for slot '{self._engine.slot.name}': this is not kept."
            raise BadRequest(429, message, "input_audio_buffer_full", "audio")
        for at in range(0, len(audio), CONVERTED_AT_ONCE):
            if at:
                await asyncio.sleep(0)
            piece = audio[at : at + CONVERTED_AT_ONCE]
            self._put(self._converter.feed(piece))
            self._at_s += source.seconds(len(piece))

    def commit(self) -> None:
        """Raises `BadRequest` if there is next to nothing since the last commit, as OpenAI does."""
        have_s = self._at_s - self._committed_s
        if have_s < SHORTEST_COMMIT_S - ROUNDING_S:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{SHORTEST_COMMIT_S * 1000:.0f}ms of audio, but buffer only has {have_s * 1000:.2f}ms of audio."
            )
            raise BadRequest(400, message, "input_audio_buffer_commit_empty")
        self._committed_s = self._at_s
        self._put(Commit())

    async def clear(self) -> None:
        self._committed_s = self._at_s
        self._converter = Converter(self._settings.format)
        if self._started is not None:
            self._outbox.put(Clear())
            return
        self._engine_from_s += len(self._again) / BYTES_PER_S
        self._again = b""
        cleared = self.items.heard(Cleared())
        self.items.begin_session(self._engine_from_s)
        await self._tell_all(cleared)

    async def run(self) -> None:
        """For as long as the client is there."""
        while True:
            await self._needed.wait()
            try:
                await self._engine.converse(self._begin, self._outbox, self._heard)
                await self._give_way()
            except (ServingError, ProviderError) as error:
                logger.info("slot %s: a live session was lost: %s", self._engine.slot.name, error)
                await self._lose(error)
                await asyncio.sleep(pause_s(self._vain_sessions))
                self._vain_sessions += 1

    def _begin(self) -> Account:
        self._engine_is_there = True
        self._outbox.put_first(self._again)
        self._again = b""
        self._account = Account(self._opening())
        return self._account

    def _put(self, one: bytes | Commit) -> None:
        if one:
            self._opening()
            self._outbox.put(one)
            self._needed.set()

    def _opening(self) -> Start:
        """The settings when the engine was first needed: what changes them later waits in line behind the audio."""
        if self._started is None:
            self._started = Start(live=True, asked=_asked(self._settings), turns=self._settings.turns)
        return self._started

    async def _heard(self, event: Event) -> None:
        self._vain_sessions = 0
        if isinstance(event, Committed):
            self._committed_s = max(self._committed_s, self._engine_from_s + event.end_s)
        await self._tell_all(self.items.heard(event))

    async def _tell_all(self, events: list[JsonObject]) -> None:
        for event in events:
            await self._tell(event)

    async def _give_way(self) -> None:
        """The engine's session is over. What it has not settled is heard by the next, once the client says more."""
        assert self._account is not None
        rest = self._account.unsettled()
        self._again = rest.audio
        # What still waits follows upon the settings that have been sent; else those of then are the first.
        self._leave(self._engine_from_s + rest.at_s, self._account.start if self._outbox else None)
        if rest.lost_s:
            message = (
                f"Slot '{self._engine.slot.name}' gives way to others, and only {MOST_KEPT_S:g} s of what is not "
                f"committed are kept for its next turn: {rest.lost_s:.1f} s before them are lost."
            )
            await self._tell(error_event(Answer(503, message, type_of(503), "input_audio_buffer_lost")))

    async def _lose(self, error: Exception) -> None:
        """The engine's session is over, and with it the audio that has not become text."""
        self._outbox.clear()
        self._again = b""
        self._committed_s = self._at_s
        self._converter = Converter(self._settings.format)
        answer = answer_for(error)
        failed = self.items.fail_all(answer)
        self._leave(self._at_s, None)
        await self._tell_all([*failed, error_event(answer)])

    def _leave(self, next_from_s: float, started: Start | None) -> None:
        self._account, self._started = None, started
        self._engine_is_there = False
        if started is None:
            self._needed.clear()
        self._engine_from_s = next_from_s
        self.items.begin_session(next_from_s)


def pause_s(vain_sessions: int) -> float:
    return min(2.0 ** (vain_sessions - 1), LONGEST_PAUSE_S) if vain_sessions else 0.0


def _asked(settings: Settings) -> Asked:
    return Asked(language=settings.language, prompt=settings.prompt, keywords=settings.keywords)
