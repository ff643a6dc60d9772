"""A server of speech recognition on a free port, and clients of it that speak its messages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import numpy as np
from aiohttp import WSMsgType

from providers.asr.messages import (
    EVENT,
    LARGEST_MESSAGE,
    Clear,
    Commit,
    Configure,
    Done,
    End,
    Event,
    Failed,
    Final,
    Heard,
    Start,
)
from providers.asr.options import AsrOptions
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import Recognizer, Samples
from providers.asr.server import AsrServer
from providers.base import Endpoint, Placement
from providers.devices import Device
from tests.support.server import free_port

TOKEN = "s3cret"
PATIENCE_S = 30.0
E = TypeVar("E", bound=Event)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.005)


def pcm(samples: Samples) -> bytes:
    return (np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes()


class Caller:
    """One session's client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def say(self, *requests: Start | Configure | Commit | Clear | End) -> None:
        for request in requests:
            await self.socket.send_str(request.model_dump_json())

    async def speak(self, samples: Samples, chunk: int = LARGEST_MESSAGE // 2) -> None:
        for begin in range(0, len(samples), chunk):
            await self.socket.send_bytes(pcm(samples[begin : begin + chunk]))

    async def next(self) -> Event | None:
        """None: the socket is closed."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        self.events.append(EVENT.validate_json(message.data))
        return self.events[-1]

    async def wait_for(self, kind: type[E], count: int = 1) -> list[E]:
        """Events of that kind, when there are as many of them, or the socket is closed."""
        while len(found := self.of(kind)) < count and await self.next() is not None:
            pass
        return found

    async def all(self) -> list[Event]:
        while await self.next() is not None:
            pass
        return self.events

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def finals(self) -> list[str]:
        return [" ".join(segment.text for segment in final.segments) for final in self.of(Final)]


class Bench:
    def __init__(self, server: AsrServer, endpoint: Endpoint, http: aiohttp.ClientSession) -> None:
        self.server, self.endpoint, self.http = server, endpoint, http

    @asynccontextmanager
    async def call(self, start: Start | None = None) -> AsyncIterator[Caller]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = self.endpoint.url + SESSION_PATH
        async with self.http.ws_connect(url, headers=headers, max_msg_size=LARGEST_MESSAGE) as socket:
            caller = Caller(socket)
            if start is not None:
                await caller.say(start)
            yield caller

    async def transcribe(self, samples: Samples, start: Start | None = None, chunk: int = 16_000) -> "Transcript":
        async with self.call(start or Start()) as caller:
            sending = asyncio.create_task(self._send(caller, samples, chunk))
            events = await caller.all()
            await sending
        return Transcript(events)

    async def _send(self, caller: Caller, samples: Samples, chunk: int) -> None:
        await caller.speak(samples, chunk)
        await caller.say(End())

    async def status(self, token: str = TOKEN) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(self.endpoint.url + SESSION_PATH, headers=headers) as response:
            return response.status


class Transcript:
    def __init__(self, events: Sequence[Event]) -> None:
        self.segments = [event.segment for event in events if isinstance(event, Heard)]
        self.failed = [event for event in events if isinstance(event, Failed)]
        self.done = next((event for event in events if isinstance(event, Done)), None)

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


def placement(port: int) -> Placement:
    return Placement(Device.CPU, "127.0.0.1", port, TOKEN, Path("/nonexistent"))


LEVEL = AsrOptions(voice_detector="level", partial_interval_s=0.2)


@asynccontextmanager
async def bench(
    load: Callable[[], Recognizer], options: AsrOptions = LEVEL, sessions: int = 2, wait: bool = True
) -> AsyncIterator[Bench]:
    port = free_port()
    server = AsrServer(load, options, placement(port), sessions)
    endpoint = Endpoint(f"http://127.0.0.1:{port}", TOKEN)
    await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            made = Bench(server, endpoint, http)
            if wait:
                await answers(made.status, 400)
            yield made
    finally:
        await server.stop()


async def answers(ask: Callable[[], Awaitable[int]], wanted: int) -> None:
    """A session's path answers 400 to what is no WebSocket, once the model is loaded."""
    async with asyncio.timeout(PATIENCE_S):
        while await ask() != wanted:
            await asyncio.sleep(0.01)
