"""A server that takes voices: the edge and the endpoints on a real port, a store, and engines of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route as HttpRoute

from providers.asr.dialect import Features, route
from providers.capabilities import Capability
from providers.spec import SlotSpec
from providers.tts.dialect import VoiceBook, speech_route
from serve_app.audio.clone import Cloning
from serve_app.audio.clone_api import StoredVoicesApi
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.patience import Patience
from serve_app.security import Door, Keys
from serve_app.voices import VoiceStore
from tests.support.audio_bench import PATIENCE_S, until
from tests.support.realtime_bench import SlotBench
from tests.support.server import free_port


class Directory(SlotDirectory):
    """Of slots whose provider is not registered. Those called `clone...` clone, other ones that speak do not."""

    def __init__(self, slots: tuple[SlotSpec, ...]) -> None:
        hear, speak = route(lambda _: Features()), speech_route(_book)
        super().__init__(slots, lambda _, operation: hear(operation) or speak(operation))


def _book(slot: SlotSpec) -> VoiceBook:
    return VoiceBook(None, clones=slot.name.startswith("clone"))


def speaker(name: str) -> SlotSpec:
    return SlotSpec(name=name, provider="p", model="m", capabilities=(Capability.SPEECH,))


@dataclass(frozen=True)
class CloneBench:
    url: str
    client: openai.AsyncOpenAI
    http: aiohttp.ClientSession
    store: VoiceStore

    async def add(self, content: bytes, name: str = "Ada", **fields: Any) -> Any:
        """As openai-python does. Raises its errors."""
        return await self.client.audio.voices.create(
            name=name, audio_sample=("ada.wav", content), consent="cons_1", extra_body=fields
        )


@asynccontextmanager
async def clone_bench(
    folder: Path, *hearing: SlotBench, speaking: tuple[str, ...] = ("tts", "clone"), most: int = 100
) -> AsyncIterator[CloneBench]:
    """Listens until the end of the context, and has leaked nothing then."""
    before = asyncio.all_tasks()

    async def want(slot: str) -> None:
        del slot

    patience = Patience(0.05, lambda name: {"name": name, "state": "warming", "progress": None}, want)
    directory = Directory((*(speaker(name) for name in speaking), *(slot.spec for slot in hearing)))
    pools = {slot.spec.name: slot.pool for slot in hearing}
    store = VoiceStore(folder, most)
    store.tidy()
    one = StoredVoicesApi(store)
    async with aiohttp.ClientSession() as http:
        routes = [
            HttpRoute("/v1/audio/voices", Cloning(store, directory, pools, http, patience), methods=["POST"]),
            HttpRoute("/v1/audio/voices/{name:path}", one.voice),
            HttpRoute("/v1/audio/voices/{name:path}", one.remove, methods=["DELETE"]),
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
                yield CloneBench(url, client, http, store)
            await until(lambda: not server.server_state.tasks)
            assert not any(slot.in_use for slot in hearing)
        finally:
            server.should_exit = True
            await serving
            for slot in hearing:
                await slot.close()
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})
