"""Speech through the edge and the endpoint on a real port, in front of engines of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import openai
import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.applications import Starlette
from starlette.routing import Route as HttpRoute

from providers.base import Endpoint, ModelFiles
from providers.capabilities import Capability
from providers.spec import SlotSpec
from providers.tts.dialect import VoiceBook, speech_route
from providers.tts.messages import CONTENT_TYPE, RATE_HEADER, SpeechRequest
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.tts.synthesizer import Reference
from providers.voices import Voice
from serve_app.audio.speech import Speech
from serve_app.audio.voices_api import VoicesApi
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.models.store import ModelStore
from serve_app.patience import Patience
from serve_app.security import Door, Keys
from tests.support.audio_bench import PATIENCE_S, until
from tests.support.realtime_bench import SlotBench
from tests.support.server import free_port

RATE = 24_000
TOKEN = "s3cret"
KEEP_ALIVE_S = 0.05
MAX_BODY = 2**18
VOICES = {
    "low": Voice("low", "Low", "en-GB", "male"),
    "high": Voice("high", "High", "en-GB", "female"),
    "other": Voice("other", "Other"),
}


def sentence(hertz: float, seconds: float, rate: int = RATE) -> bytes:
    times = np.arange(round(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes()


class Utterance:
    """One request, and what its test makes the engine do about it."""

    def __init__(self, request: web.Request, asked: SpeechRequest) -> None:
        self._request, self.asked = request, asked
        self.response: web.StreamResponse = web.StreamResponse()
        self.sent = 0

    async def begin(self, rate: int | str = RATE) -> None:
        self.response.content_type = CONTENT_TYPE
        self.response.headers[RATE_HEADER] = str(rate)
        self.response.enable_chunked_encoding()
        await self.response.prepare(self._request)

    async def say(self, pcm: bytes) -> None:
        await self.response.write(pcm)
        self.sent += len(pcm)

    def refuse(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        error = {"message": message, "code": code, "param": param}
        self.response = web.json_response({"error": error}, status=status)

    async def die(self) -> None:
        """What has been said arrives; the rest never does."""
        assert self._request.transport is not None
        self._request.transport.close()

    async def gone(self) -> None:
        """Until the client's side is closed, which cancels this."""
        await asyncio.Event().wait()


Way = Callable[[Utterance], Awaitable[None]]


class Speaker:
    """A real server that speaks `providers.tts.messages`. Requests go by the next of `ways`; the last one goes on."""

    def __init__(self, *ways: Way) -> None:
        self._ways = list(ways)
        self.heard: list[Utterance] = []
        self.open = 0
        app = web.Application()
        app.router.add_post(SPEECH_PATH, self._serve)
        self._server = TestServer(app, skip_url_asserts=True)

    async def start(self) -> Endpoint:
        await self._server.start_server()
        return Endpoint(str(self._server.make_url("")).rstrip("/"), TOKEN)

    async def stop(self) -> None:
        await self._server.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        utterance = Utterance(request, SpeechRequest.model_validate_json(await request.read()))
        self.heard.append(utterance)
        way = self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]
        self.open += 1
        try:
            await way(utterance)
        finally:
            self.open -= 1
        return utterance.response


def saying(*sentences: bytes, rate: int = RATE) -> Way:
    async def way(utterance: Utterance) -> None:
        await utterance.begin(rate)
        for pcm in sentences:
            await utterance.say(pcm)

    return way


@dataclass
class Brought:
    """Voices of clients, by name; ids are `id_` and the name."""

    voices: dict[str, Reference] = field(default_factory=dict)

    def list(self) -> Sequence[Voice]:
        return [Voice(f"id_{name}", name) for name in self.voices]

    async def reference(self, name: str) -> Reference | None:
        return self.voices.get(name.removeprefix("id_"))


class Directory(SlotDirectory):
    """Of slots whose provider is not registered; `books` by slot, those of `VOICES` unless it is named."""

    def __init__(self, slots: tuple[SlotSpec, ...], books: Mapping[str, VoiceBook]) -> None:
        infer = speech_route(lambda slot: books.get(slot.name, VoiceBook(VOICES, default="low")))
        super().__init__(slots, lambda slot, operation: infer(operation))


def voices_of(slot: SlotSpec, model: ModelFiles | None) -> tuple[Voice, ...]:
    """Files tell of one voice more."""
    del slot
    return (*VOICES.values(), *((Voice("filed", "Filed"),) if model else ()))


def speaker(name: str = "tts", options: TtsOptions | None = None, **more: Any) -> SlotSpec:
    fields = {"name": name, "provider": "kokoro", "model": "m", "capabilities": (Capability.SPEECH,)}
    spec = SlotSpec.model_validate(fields | more)
    return spec.model_copy(update={"options": options or TtsOptions()})


@dataclass(frozen=True)
class SpeechBench:
    port: int
    client: openai.AsyncOpenAI

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def speech_bench(
    *slots: SlotBench,
    store: ModelStore,
    books: Mapping[str, VoiceBook] | None = None,
    brought: Brought | None = None,
) -> AsyncIterator[SpeechBench]:
    """Listens until the end of the context, and has leaked nothing then."""
    before = asyncio.all_tasks()

    async def want(slot: str) -> None:
        del slot

    patience = Patience(KEEP_ALIVE_S, lambda name: {"name": name, "state": "warming", "progress": None}, want)
    directory = Directory(tuple(slot.spec for slot in slots), books or {})
    pools = {slot.spec.name: slot.pool for slot in slots}
    voices = brought or Brought()
    lists = VoicesApi(directory, store, voices, voices_of)
    async with aiohttp.ClientSession() as http:
        speech = Speech(directory, pools, http, MAX_BODY, patience, voices)
        routes = [
            HttpRoute("/v1/audio/speech", speech, methods=["POST"]),
            HttpRoute("/v1/audio/voices", lists.voices),
            HttpRoute("/v1/audio/models", lists.models),
        ]
        app = Edge(Starlette(routes=routes).router, Keys(()), Door(Keys(()), False, frozenset()))
        config = uvicorn.Config(app, port=free_port(), log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started or serving.done())
            url = f"http://127.0.0.1:{config.port}/v1"
            async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=PATIENCE_S) as client:
                yield SpeechBench(config.port, client)
            await until(lambda: not server.server_state.tasks)
            assert not any(slot.in_use for slot in slots)
        finally:
            server.should_exit = True
            await serving
            for slot in slots:
                await slot.close()
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})
