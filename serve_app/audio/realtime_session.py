"""One client of `/v1/realtime`, from its first event to its last."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from providers.base import JsonObject
from providers.errors import InvalidRequest, ProviderError
from serve_app.audio.live_conversation import Conversation
from serve_app.audio.live_engine import LiveEngine
from serve_app.audio.realtime_client import Append, ClearAudio, ClientEvent, CommitAudio, Update, event_of, fields_of
from serve_app.audio.realtime_items import new_id
from serve_app.audio.realtime_settings import Settings, as_beta_session, as_session
from serve_app.audio.realtime_socket import ClientSocket, error_event
from serve_app.errors import Answer, BadRequest, ServingError, answer_for, type_of

NORMAL_CLOSURE = 1000
SHOWN_ID = 512

FindEngine = Callable[[Settings], LiveEngine]
"""Raises `BadRequest` or `InvalidRequest` for a model that there is not, or that cannot do what is asked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds: of a client's silence, of its not reading, of a whole session."""

    idle_s: float = 300.0
    send_s: float = 30.0
    session_s: float = 24 * 3600.0


class Session:
    """`settings` are those that it begins with; their model is what it falls back to."""

    def __init__(self, socket: ClientSocket, settings: Settings, find: FindEngine, limits: Limits) -> None:
        self._socket, self._settings, self._find, self._limits = socket, settings, find, limits
        self._begun_with = settings
        self._engine = find(settings)
        self._conversation = Conversation(settings, self._engine, socket.send)
        self._id = new_id("sess")
        self._ends = time.monotonic() + limits.session_s
        self._expires_at = int(time.time() + limits.session_s)

    async def run(self) -> None:
        """Until the client leaves, or falls silent for too long. Raises `ClientGone` in an exception group."""
        await self._socket.send({"type": "session.created", "session": self._shown()})
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._talk()
            reason = await self._read()
            self._talking.cancel()
            await self._socket.send(error_event(reason))
            await self._socket.close(NORMAL_CLOSURE, reason.message)

    def _talk(self) -> None:
        self._talking = self._group.create_task(self._conversation.run())

    async def _read(self) -> Answer:
        """Why the session is over."""
        while (left_s := self._ends - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(self._limits.idle_s, left_s)):
                    message = await self._socket.receive()
            except TimeoutError:
                if left_s > self._limits.idle_s and not self._conversation.busy:
                    return _ended("session_idle", f"Nothing came for {self._limits.idle_s:g} s: the session is over.")
                continue
            await self._take(message)
        return _ended("session_expired", f"The session has lasted {self._limits.session_s:g} s: it is over.")

    async def _take(self, message: str | bytes) -> None:
        """What is wrong with one event ends nothing."""
        event_id: str | None = None
        try:
            fields = fields_of(message)
            event_id = _id_of(fields)
            await self._heed(event_of(fields))
        except (ServingError, ProviderError) as error:
            await self._socket.send(error_event(answer_for(error), event_id))

    async def _heed(self, event: ClientEvent) -> None:
        match event:
            case Append():
                await self._conversation.append(event.audio)
            case CommitAudio():
                self._conversation.commit()
            case ClearAudio():
                await self._conversation.clear()
            case Update():
                await self._update(event)

    async def _update(self, event: Update) -> None:
        settings = event.change(self._settings)
        if settings.model is None:
            settings = replace(settings, model=self._begun_with.model)
        try:
            engine = self._find(settings)
        except (BadRequest, InvalidRequest) as error:
            answer = answer_for(error)
            raise BadRequest(answer.status, answer.message, answer.code, f"{event.path}.{answer.param}") from None
        if engine.slot is not self._engine.slot:
            await self._leave_for(engine, event)
        self._settings, self._engine = settings, engine
        self._conversation.configure(settings, engine)
        self._conversation.items.as_beta = event.as_beta
        name = "transcription_session.updated" if event.as_beta else "session.updated"
        await self._socket.send({"type": name, "session": self._shown(event.as_beta)})

    async def _leave_for(self, engine: LiveEngine, event: Update) -> None:
        """Another slot, before the first has heard anything."""
        if self._conversation.has_audio:
            message = "The model cannot change once audio has come: open another session for it."
            raise BadRequest(400, message, "model_fixed", f"{event.path}.model")
        self._talking.cancel()
        await asyncio.wait([self._talking])
        self._conversation = Conversation(self._settings, engine, self._socket.send)
        self._talk()

    def _shown(self, as_beta: bool = False) -> JsonObject:
        show = as_beta_session if as_beta else as_session
        return show(self._settings, self._id, self._expires_at)


def _ended(code: str, message: str) -> Answer:
    return Answer(400, message, type_of(400), code)


def _id_of(fields: JsonObject) -> str | None:
    given = fields.get("event_id")
    if given is None or isinstance(given, str):
        return given and given[:SHOWN_ID]
    raise BadRequest(400, "Invalid type for 'event_id': expected a string.", "invalid_type", "event_id")
