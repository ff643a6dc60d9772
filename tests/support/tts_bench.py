"""A server that speaks on a free port, and clients of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO

import aiohttp
import numpy as np

from providers.base import Endpoint
from providers.tts.messages import RATE_HEADER, SpeechRequest
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.tts.server import TtsServer
from providers.tts.synthesizer import Manner, Samples, Share, Synthesizer
from tests.support.asr_bench import TOKEN, answers, placement
from tests.support.server import free_port

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
LOW = Manner(blend=(Share("low"),))


def body(text: str, manner: Manner = LOW) -> str:
    return SpeechRequest.of(text, manner).model_dump_json()


def samples_of(pcm: bytes) -> Samples:
    samples: Samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32767)
    return samples


class Bench:
    def __init__(self, server: TtsServer, endpoint: Endpoint, http: aiohttp.ClientSession) -> None:
        self.server, self.endpoint, self.http = server, endpoint, http

    @asynccontextmanager
    async def ask(self, text: str, manner: Manner = LOW) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.post(body(text, manner)) as response:
            yield response

    def post(self, data: str | bytes) -> "aiohttp.client._RequestContextManager":
        sent = BytesIO(data.encode() if isinstance(data, str) else data)
        return self.http.post(self.endpoint.url + SPEECH_PATH, data=sent, headers=HEADERS)

    async def speak(self, text: str, manner: Manner = LOW) -> Samples:
        async with self.ask(text, manner) as response:
            assert response.status == 200, await response.text()
            assert int(response.headers[RATE_HEADER]) > 0
            return samples_of(await response.read())

    async def status(self) -> int:
        async with self.post("{}") as response:
            return response.status


@asynccontextmanager
async def bench(
    load: Callable[[], Synthesizer], options: TtsOptions | None = None, requests: int = 2, wait: bool = True
) -> AsyncIterator[Bench]:
    port = free_port()
    server = TtsServer(load, options or TtsOptions(), placement(port), requests)
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
