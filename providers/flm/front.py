"""What stands before FLM, which checks no token, crashes under two requests at once and speaks a dialect of its own."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import replace

from aiohttp import web

from providers.asr.messages import Start
from providers.asr.options import HearingOptions
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import Recognizer
from providers.asr.server import AsrServer, Loaded
from providers.asr.session import Listener, Session
from providers.base import Endpoint, JsonObject, Placement
from providers.capabilities import Capability
from providers.errors import EngineError, InvalidRequest
from providers.flm.dialect.embeddings import embedding_answer, embedding_request
from providers.flm.dialect.request import chat_request
from providers.flm.dialect.routes import CHAT_PATH, EMBEDDINGS_PATH
from providers.flm.engine import FlmEngine
from providers.flm.gone import EngineGone
from providers.flm.loading import loaded
from providers.flm.options import FlmSlot
from providers.flm.recognizer import FlmRecognizer
from providers.flm.reply import envelope, stream, whole
from providers.native.server import sent_away
from providers.openai.engine_errors import unsupported

MOST_SESSIONS = 256
"""Each has a thread, which mostly waits for its turn. Who speaks now and then must not keep chats away."""
LOOK_S = 0.05
"""How often it looks whether a client is still there."""
NEEDED: Mapping[str, Capability] = {
    CHAT_PATH: Capability.CHAT,
    EMBEDDINGS_PATH: Capability.EMBEDDING,
    SESSION_PATH: Capability.TRANSCRIPTION,
}


class FlmFront(AsrServer):
    """An `EngineFront`. A client whose engine has gone finds its connection broken, without a word of an answer: it may
    try another one."""

    name = "flm"
    further = (("POST", CHAT_PATH), ("POST", EMBEDDINGS_PATH))
    largest_body = 256 * 1024**2

    def __init__(self, slot: FlmSlot, placement: Placement, engine: Endpoint) -> None:
        super().__init__(self._loaded_engine, _hearing(slot), placement, MOST_SESSIONS)
        self._slot = slot
        self._engine = FlmEngine(slot, engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: set[asyncio.Transport] = set()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine.open()
        await super().start()

    async def broken(self) -> str:
        return await self._engine.broken()

    async def answer(self, request: web.Request, model: Loaded) -> web.StreamResponse:
        if not self._slot.offers(needed := NEEDED[request.path]):
            message = f"Slot '{self._slot.name}' has no capability {needed}."
            return _refused(unsupported(message))
        if request.path == SESSION_PATH:
            return await super().answer(request, model)
        link = request.transport
        if link is None:
            return web.Response()
        self._links.add(link)
        try:
            return await _while_it_is_there(link, self._answered(request))
        finally:
            self._links.discard(link)

    def opened(self, model: Loaded, start: Start, listener: Listener) -> Session:
        recognizer = model.recognizer
        if isinstance(recognizer, FlmRecognizer):
            model = replace(model, recognizer=recognizer.listening(listener.gone))
        return super().opened(model, start, listener)

    async def _stop(self) -> None:
        # First of all: whoever waits for the engine, a load or a session's thread, would hold up the rest.
        await self._engine.close()
        for link in tuple(self._links):
            link.abort()
        await super()._stop()

    def _loaded_engine(self) -> Recognizer:
        """In a thread."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(loaded(self._engine, self._slot), self._loop).result()
        hears = self._slot.offers(Capability.TRANSCRIPTION)
        return FlmRecognizer(self._engine.hear if hears else _nothing, self._loop)

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        try:
            body = _record(await request.read())
            if request.path == EMBEDDINGS_PATH:
                return web.json_response(await self._embedded(body))
            asked = chat_request(body, self._slot)
            if asked.stream:
                return await stream(request, self._engine, asked)
            return web.json_response(await whole(self._engine, asked))
        except InvalidRequest as error:
            return _refused(EngineError(400, error.message, "invalid_request_error", error.code, error.param))
        except web.HTTPRequestEntityTooLarge:
            message = f"The request is larger than {self.largest_body // 1024**2} MiB."
            return _refused(EngineError(413, message, "invalid_request_error", "request_too_large"))
        except EngineError as error:
            return _refused(error)
        except (EngineGone, ConnectionError) as error:
            self.log.info("a client is sent away: %s", error)
            return sent_away(request)

    async def _embedded(self, body: JsonObject) -> JsonObject:
        asked = embedding_request(body, self._slot)
        return embedding_answer(asked, await self._engine.embed(asked.texts))


def _hearing(slot: FlmSlot) -> HearingOptions:
    """A slot that does not hear needs no model that tells speech from silence."""
    return slot.options if slot.offers(Capability.TRANSCRIPTION) else HearingOptions(voice_detector="level")


async def _nothing(sound: bytes) -> str:
    return ""


async def _while_it_is_there(
    link: asyncio.Transport, work: Coroutine[object, object, web.StreamResponse]
) -> web.StreamResponse:
    """Work for a client, cancelled when it leaves."""
    working = asyncio.create_task(work)
    try:
        while not working.done() and not link.is_closing():
            await asyncio.wait([working], timeout=LOOK_S)
        return working.result() if working.done() else web.Response()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _record(body: bytes) -> JsonObject:
    """Raises `InvalidRequest`."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return record


def _refused(error: EngineError) -> web.Response:
    return web.json_response(envelope(error), status=error.status)
