"""A `FlmFront` before an emulated `flm`, and clients of it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from providers.base import Endpoint
from providers.capabilities import Capability
from providers.flm.front import FlmFront
from providers.flm.options import FlmSlot
from providers.health import HEALTH_PATH
from providers.tiny.tones import tones
from tests.support.asr_bench import TOKEN, Bench, Transcript, placement, until
from tests.support.flm import Serving, starting
from tests.support.flm_client import TAG
from tests.support.server import free_port

ALL = ("chat", "embedding", "transcription")
PATIENCE_S = 60.0
USER = {"role": "user", "content": "Hi"}


def slot(*capabilities: str, model: str = TAG, silence_s: float = 30.0, **more: object) -> FlmSlot:
    options = {"voice_detector": "level", "silence_s": silence_s}
    fields = {"name": "npu", "provider": "flm", "model": model, "capabilities": capabilities or ALL, "options": options}
    return FlmSlot.model_validate(fields | more)


@dataclass
class Fronted:
    """`fault` is read by the running engine each time. `broken` is what the front says, once it does."""

    front: FlmFront
    engine: Serving
    sessions: Bench
    fault: Path
    broken: "asyncio.Task[str]"

    @property
    def http(self) -> aiohttp.ClientSession:
        return self.sessions.http

    @property
    def url(self) -> str:
        return self.sessions.endpoint.url

    @property
    def begun(self) -> int:
        """Requests that the NPU has begun."""
        output = self.engine.output
        return output.count("NPU Locked!") + output.count("Dequeuing NPU request")

    @property
    def idle(self) -> bool:
        return self.engine.output.count("NPU Lock Released!") == self.begun

    async def health(self) -> tuple[int, Any]:
        async with self.http.get(self.url + HEALTH_PATH) as response:
            return response.status, await response.json()

    async def loaded(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self.health())[0] == 503:
                await asyncio.sleep(0.01)
        assert await self.health() == (200, {"status": "ok"})

    def asking(self, path: str, body: object, token: str = TOKEN) -> Any:
        """A context manager of the response."""
        return self.http.post(self.url + path, json=body, headers={"Authorization": f"Bearer {token}"})

    def chatting(self, text: str = "Hi", **more: object) -> Any:
        return self.asking("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more})

    async def ask(self, path: str, body: object, token: str = TOKEN) -> tuple[int, Any]:
        async with self.asking(path, body, token) as response:
            return response.status, await response.json()

    async def chat(self, text: str = "Hi", **more: object) -> tuple[int, Any]:
        async with self.chatting(text, **more) as response:
            return response.status, await response.json()

    async def embed(self, *texts: str, **more: object) -> tuple[int, Any]:
        return await self.ask("/v1/embeddings", {"input": [*texts], **more})

    async def hear(self, *words: str) -> Transcript:
        return await self.sessions.transcribe(tones(words, before_s=0.2, after_s=0.2))


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    """What a stream holds: events, and comments as they are."""
    found: list[Any] = []
    async for line in response.content:
        text = line.decode().strip()
        if text.startswith("data: "):
            found.append("[DONE]" if text == "data: [DONE]" else json.loads(text.removeprefix("data: ")))
        elif text:
            found.append(text)
    return found


@asynccontextmanager
async def fronted(
    home: Path, spec: FlmSlot, *, load: bool = True, fault: str = "", **more: str
) -> AsyncIterator[Fronted]:
    """`load`: wait for it."""
    file = home / "fault"
    file.write_text(fault)
    arguments = ["--ctx-len", str(spec.context_size)]
    if spec.offers(Capability.CHAT):
        arguments.insert(0, spec.model)
    for capability, role in (("embedding", "--embed"), ("transcription", "--asr")):
        arguments += [role, "1"] if capability in spec.capabilities else []
    with starting(home, *arguments, port=None, FLM_EMULATOR_FAULT_FILE=str(file), **more) as engine:
        port = free_port()
        front = FlmFront(spec, placement(port), Endpoint(engine.url, ""))
        await front.start()
        broken = asyncio.create_task(front.broken())
        try:
            async with aiohttp.ClientSession() as http:
                made = Fronted(
                    front, engine, Bench(front, Endpoint(f"http://127.0.0.1:{port}", TOKEN), http), file, broken
                )
                if load:
                    await made.loaded()
                yield made
        finally:
            broken.cancel()
            await asyncio.gather(broken, return_exceptions=True)
            await front.stop()


async def nothing_left_of_fronts() -> None:
    """Neither tasks nor threads, once they had time to end."""
    await until(lambda: not [task for task in asyncio.all_tasks() if "/flm/" in repr(task) or "aiohttp" in repr(task)])
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("flm")])
