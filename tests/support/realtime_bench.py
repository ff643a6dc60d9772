"""A server of realtime sessions: the edge and the endpoint on a real port, in front of engines of the test's own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import aiohttp
import openai
import uvicorn
from openai.resources.realtime.realtime import AsyncRealtimeConnection, AsyncRealtimeConnectionManager
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from providers.asr.dialect import Features, route
from providers.base import Endpoint
from providers.capabilities import Capability
from providers.spec import SlotSpec
from serve_app.audio.realtime import Realtime
from serve_app.audio.realtime_session import Limits
from serve_app.directory import SlotDirectory
from serve_app.edge import Edge
from serve_app.errors import ServingError
from serve_app.granted import Granted
from serve_app.lease_call import LeaseCall
from serve_app.leases import LeasePool
from serve_app.patience import Patience
from serve_app.security import Door, Keys
from tests.support.realtime_engine import PATIENCE_S, until
from tests.support.server import free_port

KEY = "the-key"
STRICT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
Features_ = Callable[[SlotSpec], Features]


class Engine(Protocol):
    async def start(self) -> Endpoint: ...
    async def stop(self) -> None: ...


class Directory(SlotDirectory):
    """Of slots whose provider is not registered: English only, without keywords."""

    def __init__(self, slots: tuple[SlotSpec, ...]) -> None:
        infer = route(lambda _: Features(languages=frozenset({"en"})))
        super().__init__(slots, lambda _, operation: infer(operation))


class Call:
    """A lease on an engine, granted when `load` is."""

    def __init__(self, granted: "asyncio.Task[Granted]") -> None:
        self._granted = granted
        self.over = asyncio.Event()
        self.replica: str | None = None

    async def __aiter__(self) -> AsyncIterator[Granted]:
        yield await asyncio.shield(self._granted)
        await self.over.wait()

    def let_go(self) -> None:
        pass

    def cancel(self) -> None:
        self.over.set()


@dataclass
class SlotBench:
    """A slot and its engines: each lease that is opened gets the next; the last one stays."""

    spec: SlotSpec
    engines: list[Engine]
    load: asyncio.Event = field(default_factory=asyncio.Event)
    failure: ServingError | None = None
    opened: int = 0
    suspects: list[str] = field(default_factory=list)
    capacity: int = 16

    def __post_init__(self) -> None:
        self.load.set()
        self.pool = LeasePool(self.spec, self._open)
        self._endpoints: dict[int, Endpoint] = {}
        self._grants: set[asyncio.Task[Granted]] = set()

    def replaced(self) -> None:
        """Its replica is being stopped, and the next one runs."""
        self.pool.replicas_changed(frozenset({f"r{self.opened + 1}"}))

    def _open(self, suspect: str) -> LeaseCall:
        self.suspects.append(suspect)
        number = min(self.opened, len(self.engines) - 1)
        self.opened += 1
        grant = asyncio.create_task(self._grant(number, f"r{self.opened}"))
        self._grants.add(grant)
        return Call(grant)

    async def _grant(self, number: int, replica: str) -> Granted:
        await self.load.wait()
        if self.failure is not None:
            raise self.failure
        if number not in self._endpoints:
            self._endpoints[number] = await self.engines[number].start()
        return Granted(replica, self._endpoints[number], self.capacity)

    @property
    def in_use(self) -> int:
        return self.pool.traffic.in_flight + self.pool.traffic.queued

    async def close(self) -> None:
        await self.pool.close()
        for grant in self._grants:
            grant.cancel()
        await asyncio.gather(*self._grants, return_exceptions=True)
        for number in self._endpoints:
            await self.engines[number].stop()


class RealtimeBench:
    """`slots` by name; the first is what a session gets that names none."""

    def __init__(self, slots: dict[str, SlotBench], port: int) -> None:
        self.slots, self.port = slots, port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def connect(self, key: str = KEY, **query: str) -> AsyncRealtimeConnectionManager:
        """As openai-python does."""
        client = openai.AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{self.port}/v1")
        return client.realtime.connect(extra_query=cast(Any, query or {"intent": "transcription"}))

    @asynccontextmanager
    async def client(self, **query: str) -> AsyncIterator["Client"]:
        """With its first event read."""
        async with self.connect(**query) as connection:
            client = Client(connection)
            assert (await client.event()).type == "session.created"
            yield client


class Client:
    """An OpenAI client that checks each event against openai-python's own types, strictly."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.event_ids: set[str] = set()

    async def event(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            raw = json.loads(await self.connection.recv_bytes())
        assert raw["event_id"] not in self.event_ids
        self.event_ids.add(raw["event_id"])
        return STRICT.validate_python(raw)

    async def events(self, count: int) -> list[Any]:
        return [await self.event() for _ in range(count)]

    async def until(self, kind: str) -> list[Any]:
        """All events, the first of this kind being the last."""
        events = [await self.event()]
        while events[-1].type != kind:
            events.append(await self.event())
        return events

    async def error(self) -> Any:
        event = await self.event()
        assert event.type == "error", event
        return event.error

    async def say(self, pcm: bytes) -> None:
        await self.connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

    async def set(self, **audio_input: Any) -> Any:
        """What answers `session.update`."""
        session = {"type": "transcription", "audio": {"input": audio_input}}
        await self.connection.session.update(session=cast(Any, session))
        return await self.event()


def asr_slot(name: str = "ears", **more: Any) -> SlotSpec:
    return SlotSpec(name=name, provider="p", model="m", capabilities=(Capability.TRANSCRIPTION,), **more)


@asynccontextmanager
async def realtime_bench(
    *slots: SlotBench, limits: Limits | None = None, keys: Keys | None = None
) -> AsyncIterator[RealtimeBench]:
    """Listens until the end of the context, and has leaked nothing then."""
    before = asyncio.all_tasks()
    by_name = {slot.spec.name: slot for slot in slots}
    keys = Keys((KEY,)) if keys is None else keys

    async def want(slot: str) -> None:
        del slot

    def view(name: str) -> dict[str, Any]:
        return {"name": name, "state": "warming", "progress": {"fraction": 0.5}}

    async with aiohttp.ClientSession() as http:
        endpoint = Realtime(
            Directory(tuple(slot.spec for slot in slots)),
            {name: slot.pool for name, slot in by_name.items()},
            http,
            Patience(1.0, view, want),
            limits or Limits(),
        )
        app = Starlette(routes=[WebSocketRoute("/v1/realtime", endpoint)])
        config = uvicorn.Config(
            Edge(app.router, keys, Door(keys, False, frozenset())), port=free_port(), log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started or serving.done())
            yield RealtimeBench(by_name, config.port)
            # A session ends by itself when its client has left: nothing may be left of it.
            await until(lambda: not server.server_state.tasks)
            await until(lambda: not any(slot.in_use for slot in slots))
        finally:
            server.should_exit = True
            await serving
            for slot in slots:
                await slot.close()
    # A fixture may end in another task than it began in.
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})
