"""An engine of live recognition whose every word a test speaks: it takes what comes, and says what it is told."""

import asyncio
from collections.abc import Callable

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from providers.asr.messages import REQUEST, Clear, Commit, Configure, Event, Request, Start
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE
from providers.base import Endpoint

TOKEN = "s3cret"
PATIENCE_S = 10.0
Control = Configure | Commit | Clear


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.005)


class EngineSession:
    """One session as the engine sees it. `controls` in order, each with the bytes of audio that came before it."""

    def __init__(self, start: Start, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.start, self._socket, self._request = start, socket, request
        self.audio = bytearray()
        self.controls: list[tuple[int, Control]] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.over = asyncio.Event()

    @property
    def seconds(self) -> float:
        return len(self.audio) / 2 / SAMPLE_RATE

    def take(self, request: Request) -> None:
        assert isinstance(request, Control), request
        self.controls.append((len(self.audio), request))

    async def say(self, *events: Event) -> None:
        for event in events:
            await self._socket.send_str(event.model_dump_json())

    async def babble(self, text: str) -> None:
        await self._socket.send_str(text)

    async def has(self, seconds: float) -> None:
        """Until so much audio has come, but for what a resampler holds back."""
        await until(lambda: self.seconds >= seconds - 0.005)

    async def is_told(self, count: int) -> Control:
        await until(lambda: len(self.controls) >= count)
        return self.controls[count - 1][1]

    def die(self) -> None:
        """Without a word, as a process that is killed."""
        assert self._request.transport is not None
        self._request.transport.abort()

    async def leave(self) -> None:
        await self._socket.close()


class ScriptedEngine:
    """`refusing`: a status that it answers instead of opening sessions."""

    def __init__(self) -> None:
        self.sessions: list[EngineSession] = []
        self.refusing: int | None = None
        app = web.Application()
        app.router.add_get(SESSION_PATH, self._session)
        self._server = TestServer(app, skip_url_asserts=True)

    async def start(self) -> Endpoint:
        await self._server.start_server()
        return Endpoint(str(self._server.make_url("")).rstrip("/"), TOKEN)

    async def stop(self) -> None:
        await self._server.close()

    async def session(self, number: int = 0) -> EngineSession:
        await until(lambda: len(self.sessions) > number)
        return self.sessions[number]

    async def _session(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if self.refusing is not None:
            return web.Response(status=self.refusing)
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        start = REQUEST.validate_json((await socket.receive()).data)
        assert isinstance(start, Start)
        session = EngineSession(start, socket, request)
        self.sessions.append(session)
        try:
            await self._listen(session, socket)
        finally:
            session.over.set()
        return socket

    @staticmethod
    async def _listen(session: EngineSession, socket: web.WebSocketResponse) -> None:
        while True:
            await session.reading.wait()
            message = await socket.receive()
            if message.type is WSMsgType.BINARY:
                session.audio += message.data
            elif message.type is WSMsgType.TEXT:
                session.take(REQUEST.validate_json(message.data))
            else:
                return
