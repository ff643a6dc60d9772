"""`/v1/realtime`: OpenAI's sessions of live transcription, over a WebSocket.

https://platform.openai.com/docs/guides/realtime-transcription
"""

import asyncio
import logging
from collections.abc import Mapping

import aiohttp
from pydantic import JsonValue
from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from providers.capabilities import Capability, Operation
from serve_app.audio.engine_socket import busy
from serve_app.audio.live_engine import LiveEngine
from serve_app.audio.realtime_session import Limits, Session
from serve_app.audio.realtime_settings import Settings
from serve_app.audio.realtime_socket import ClientSocket, error_event
from serve_app.directory import SlotDirectory
from serve_app.dispatch import Dispatch, priority_of
from serve_app.errors import BadRequest, answer_for
from serve_app.http_io import ClientGone
from serve_app.leases import Lease, LeasePool
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

logger = logging.getLogger("hal0.realtime")

INTENT = "transcription"
INTERNAL_ERROR = 1011
TURN_S = 15.0
"""How long a session waits for a place in an engine that is there."""


class Realtime:
    """An ASGI application for the scope `websocket`. Raises, before it accepts, why it does not."""

    def __init__(
        self,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        patience: Patience,
        limits: Limits = Limits(),  # noqa: B008
    ) -> None:
        self._directory, self._pools, self._http = directory, pools, http
        self._dispatch, self._limits = Dispatch(pools, patience), limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        priority = priority_of(Headers(scope=scope))
        settings = Settings(model=self._first_model(QueryParams(scope["query_string"])))
        scope["slot"] = self._engine(settings, priority).slot.name
        socket = ClientSocket(receive, send, self._limits.send_s)
        await socket.accept(scope.get("subprotocols", []))
        try:
            await Session(socket, settings, lambda settings: self._engine(settings, priority), self._limits).run()
        except* ClientGone:
            pass
        except* Exception as errors:
            logger.exception("a realtime session failed")
            await _give_up(socket, errors.exceptions[0])

    def _first_model(self, query: QueryParams) -> str:
        """`?model=`, or the first slot that transcribes."""
        if (intent := query.get("intent", INTENT)) != INTENT:
            message = f"Sessions here are of transcription: 'intent' must be '{INTENT}', not '{intent[:80]}'."
            raise BadRequest(400, message, "unsupported_intent", "intent")
        if named := query.get("model"):
            return named
        for slot in self._directory.slots.values():
            if slot.offers(Capability.TRANSCRIPTION):
                return slot.name
        raise BadRequest(400, "No slot of this server can do transcription.", "unsupported_capability", "model")

    def _engine(self, settings: Settings, priority: int | None) -> LiveEngine:
        """Raises `BadRequest` or `InvalidRequest`."""
        slot = self._directory.find(settings.model, Operation.REALTIME)
        route = self._directory.route(slot, Operation.REALTIME)
        if route.translate is not None:
            keywords: list[JsonValue] = list(settings.keywords)
            route.translate({"language": settings.language, "word_times": False, "keywords": keywords}, slot)
        waiting = WaitingRequest(slot, priority, light=False, streams=False, shows_progress=False, queued=route.queued)
        return LiveEngine(waiting, route.path, self._pools[slot.name], lambda: self._lease(waiting), self._http)

    async def _lease(self, waiting: WaitingRequest) -> Lease:
        """A session takes a place in the engine for as long as it lives: others do not wait for that to end."""
        slot, pool = waiting.slot, self._pools[waiting.slot.name]
        there = pool.resident and not pool.held
        try:
            async with asyncio.timeout(TURN_S if there else slot.load_wait_s + TURN_S):
                return await self._dispatch.lease(waiting, Reply(_say_nothing, anthropic=False))
        except TimeoutError:
            raise busy(slot.name, f"it hears {slot.parallel_requests} at once (parallel_requests)") from None


class NoWebSocket:
    """An ASGI application for the scope `http` at the same path: proxies that do not pass `Upgrade` on are common."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = (
            "Realtime sessions are WebSockets, and this request asks for none. A proxy before this server must pass on "
            "the headers Upgrade and Connection."
        )
        raise BadRequest(400, message, "websocket_required")


async def _say_nothing(message: Message) -> None:
    """OpenAI's sessions have no event for a model that loads."""


async def _give_up(socket: ClientSocket, error: Exception) -> None:
    """As far as the client can be told."""
    try:
        await socket.send(error_event(answer_for(error)))
        await socket.close(INTERNAL_ERROR)
    except ClientGone:
        pass
