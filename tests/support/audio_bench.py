"""A server of transcriptions: the edge and the endpoints on a real port, in front of engines of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.applications import Starlette
from starlette.routing import Route as HttpRoute

from providers.asr.dialect import Features, route
from providers.asr.messages import LARGEST_MESSAGE, REQUEST, End, Event, Start
from providers.asr.paths import SESSION_PATH
from providers.asr.server import AsrServer
from providers.base import Endpoint
from providers.capabilities import Capability, Operation
from providers.spec import SlotSpec
from serve_app.audio.transcriptions import Transcriptions
from serve_app.audio.upload import UploadLimits
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.patience import Patience
from serve_app.security import Door, Keys
from tests.support.asr_bench import LEVEL, placement
from tests.support.asr_ear import Ear
from tests.support.realtime_bench import SlotBench
from tests.support.server import free_port

PATIENCE_S = 30.0
KEEP_ALIVE_S = 0.05
ABLE = Features(word_times=True, keywords=True)
PATHS: Mapping[str, Operation] = {
    "/v1/audio/transcriptions": Operation.TRANSCRIPTION,
    "/v1/audio/translations": Operation.TRANSLATION,
}


class EarEngine:
    """The real server of speech recognition, around an ear."""

    def __init__(self, ear: Ear | None = None, sessions: int = 2) -> None:
        self.ear, self._sessions = ear or Ear(), sessions

    async def start(self) -> Endpoint:
        place = placement(free_port())
        self._server = AsrServer(lambda: self.ear, LEVEL, place, self._sessions)
        endpoint = Endpoint(f"http://127.0.0.1:{place.port}", place.token)
        await self._server.start()
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{endpoint.url}/health") as response:
                    if response.status == 200:
                        return endpoint
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await self._server.stop()


class Session:
    """One session of an engine that does what its test says."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.start: Start | None = None
        self.audio_bytes = 0
        self.ended = False

    async def read(self, until_bytes: int | None = None) -> None:
        """Until the file's end, or until so much of it has come."""
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                self.audio_bytes += len(message.data)
                if until_bytes is not None and self.audio_bytes >= until_bytes:
                    return
                continue
            request = REQUEST.validate_json(message.data)
            if isinstance(request, Start):
                self.start = request
            if isinstance(request, End):
                self.ended = True
                return

    async def tell(self, *events: Event) -> None:
        for event in events:
            await self._socket.send_str(event.model_dump_json())

    async def tell_raw(self, text: str) -> None:
        await self._socket.send_str(text)

    async def gone(self) -> None:
        """When the other side has closed."""
        async for _ in self._socket:
            pass


Way = Callable[[Session], Awaitable[None]]


class ScriptedEngine:
    """Sessions go by the next of `ways`; the last one goes on. One that returns closes its session."""

    def __init__(self, *ways: Way) -> None:
        self._ways = list(ways)
        self.sessions: list[Session] = []
        self.open = 0
        app = web.Application()
        app.router.add_get(SESSION_PATH, self._serve)
        self._server = TestServer(app, skip_url_asserts=True)

    async def start(self) -> Endpoint:
        await self._server.start_server()
        return Endpoint(str(self._server.make_url("")).rstrip("/"), "s3cret")

    async def stop(self) -> None:
        await self._server.close()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        assert request.headers["Authorization"] == "Bearer s3cret"
        socket = web.WebSocketResponse(compress=False, max_msg_size=LARGEST_MESSAGE)
        await socket.prepare(request)
        session = Session(socket)
        self.sessions.append(session)
        way = self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]
        self.open += 1
        try:
            await way(session)
        finally:
            self.open -= 1
        return socket


class Directory(SlotDirectory):
    """Of slots whose provider is not registered; `features` by slot, able to do everything unless it is named."""

    def __init__(self, slots: tuple[SlotSpec, ...], features: Mapping[str, Features]) -> None:
        infer = route(lambda slot: features.get(slot.name, ABLE))
        super().__init__(slots, lambda _, operation: infer(operation))


def ears(name: str = "ears", **more: Any) -> SlotSpec:
    fields = {"provider": "p", "model": "m", "capabilities": (Capability.TRANSCRIPTION, Capability.TRANSLATION)}
    return SlotSpec.model_validate({"name": name} | fields | more)


@dataclass(frozen=True)
class AudioBench:
    url: str
    client: openai.AsyncOpenAI


@asynccontextmanager
async def audio_bench(
    *slots: SlotBench, features: Mapping[str, Features] | None = None, limits: UploadLimits | None = None
) -> AsyncIterator[AudioBench]:
    """Listens until the end of the context, and has leaked nothing then."""
    before = asyncio.all_tasks()

    async def want(slot: str) -> None:
        del slot

    patience = Patience(KEEP_ALIVE_S, lambda name: {"name": name, "state": "warming", "progress": None}, want)
    directory = Directory(tuple(slot.spec for slot in slots), features or {})
    pools = {slot.spec.name: slot.pool for slot in slots}
    async with aiohttp.ClientSession() as http:
        routes = [
            HttpRoute(
                path,
                Transcriptions(operation, directory, pools, http, limits or UploadLimits(), patience),
                methods=["POST"],
            )
            for path, operation in PATHS.items()
        ]
        app = Edge(Starlette(routes=routes).router, Keys(()), Door(Keys(()), False, frozenset()))
        config = uvicorn.Config(app, port=free_port(), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started or serving.done())
            url = f"http://127.0.0.1:{config.port}"
            async with openai.AsyncOpenAI(
                api_key="none", base_url=f"{url}/v1", max_retries=0, timeout=PATIENCE_S
            ) as client:
                yield AudioBench(url, client)
            await until(lambda: not server.server_state.tasks)
            assert not any(slot.in_use for slot in slots)
        finally:
            server.should_exit = True
            await serving
            for slot in slots:
                await slot.close()
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.005)
