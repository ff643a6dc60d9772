"""A slot's engine that lives in its actor: the same life as that of a process, and nothing left of it afterwards."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from providers.base import Command, Endpoint, Health, HealthState, ModelFiles, NativeEngine, Placement, Provider, Route
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.spec import SlotSpec
from serve_app.engine import Engine, LoadReport
from serve_app.errors import LoadFailed
from serve_app.lifecycle import SlotState as S
from serve_app.settings import Settings

logger = logging.getLogger("hal0.test-engine")


class Answering:
    """Answers its state: warming once, then as it was told."""

    def __init__(self, placement: Placement, then: HealthState) -> None:
        self._placement, self._then = placement, then
        self._state = HealthState.WARMING
        self.stops = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._placement.host, self._placement.port).start()
        logger.info("listens with %s", self._placement.token)

    async def _answer(self, request: web.Request) -> web.Response:
        state, self._state = self._state, self._then
        return web.Response(text=state.value)

    async def stop(self) -> None:
        self.stops += 1
        await self._runner.cleanup()


class Native(Provider[SlotSpec]):
    name = "native"
    spec = SlotSpec
    capabilities = frozenset({Capability.CHAT})
    devices = frozenset({Device.CPU})

    def __init__(self, then: HealthState) -> None:
        self.then = then
        self.taken: list[socket.socket] = []
        self.take = 0
        """How many of the next ports somebody else takes first."""
        self.engines: list[Answering] = []

    def native(self, slot: SlotSpec, model: ModelFiles, placement: Placement) -> NativeEngine:
        if len(self.taken) < self.take:
            self.taken.append(socket.create_server((placement.host, placement.port)))
        self.engines.append(Answering(placement, self.then))
        return self.engines[-1]

    def build_env(self, slot: SlotSpec, model: ModelFiles, placement: Placement) -> dict[str, str]:
        raise AssertionError("no process is started")

    def start_cmd(self, slot: SlotSpec, model: ModelFiles, placement: Placement) -> Command:
        raise AssertionError("no process is started")

    async def health(self, endpoint: Endpoint) -> Health:
        try:
            async with aiohttp.ClientSession() as session, session.get(endpoint.url) as response:
                return Health(HealthState(await response.text()), detail="no such model")
        except aiohttp.ClientError:
            return Health(HealthState.STARTING)

    def infer(self, operation: Operation) -> Route | None:
        return None


class Bench:
    def __init__(self, folder: Path, then: HealthState = HealthState.READY, **more: float) -> None:
        (folder / "models").mkdir()
        (folder / "models/m").touch()
        given = {"name": "chat", "provider": "native", "model": "m", "capabilities": ["chat"]}
        self.logs, self.provider, self.reports = folder / "logs", Native(then), list[LoadReport]()
        self.engine = Engine(
            self.provider,
            SlotSpec.model_validate(given | more),
            Device.CPU,
            Settings(folder, ()),
            self.reports.append,
        )

    @property
    def states(self) -> list[S]:
        return [report.state for report in self.reports]


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    def bench(then: HealthState = HealthState.READY, **more: float) -> Bench:
        made.append(Bench(tmp_path, then, **more))
        return made[-1]

    yield bench
    for one in made:
        await one.engine.stop()
        assert all(engine.stops == 1 for engine in one.provider.engines)
        for taken in one.provider.taken:
            taken.close()
    assert logging.getLogger("hal0").handlers == []


def can_be_taken(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True


async def test_it_loads_and_unloads_like_any_other(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    assert bench.states[:3] == [S.STARTING, S.WARMING, S.READY]
    assert running.process.pid == os.getpid() and running.process.alive
    assert not can_be_taken(running.endpoint.url)
    await bench.engine.stop()
    assert "unloaded" in running.lost.result().detail
    assert not running.process.alive and can_be_taken(running.endpoint.url)


async def test_its_own_node_reaches_it_directly_and_others_through_a_gate(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    assert await bench.engine.reach(running, "127.0.0.1") == running.endpoint
    elsewhere = await bench.engine.reach(running, "127.0.0.2")
    assert elsewhere.url.startswith("http://127.0.0.2:") and elsewhere.token == running.endpoint.token
    assert await bench.engine.reach(running, "127.0.0.2") == elsewhere and not can_be_taken(elsewhere.url)
    with pytest.raises(LoadFailed, match="cannot listen"):
        await bench.engine.reach(running, "192.0.2.1")
    await bench.engine.stop()
    assert can_be_taken(elsewhere.url)


async def test_what_it_logs_is_the_slots_log_without_its_token(make: MakeBench) -> None:
    bench = make()
    logging.getLogger("hal0").setLevel(logging.INFO)
    running = await bench.engine.ensure_ready()
    assert running.process.log.tail() == ("listens with [masked]",)
    assert "listens with [masked]" in (bench.logs / "chat-0.log").read_text()


async def test_a_load_that_fails_says_why_and_leaves_nothing(make: MakeBench) -> None:
    bench = make(HealthState.DEAD)
    with pytest.raises(LoadFailed, match="no such model"):
        await bench.engine.ensure_ready()
    assert bench.states[-1] is S.ERROR and bench.reports[-1].gave_up
    assert [engine.stops for engine in bench.provider.engines] == [1]


async def test_a_load_that_takes_too_long_is_ended(make: MakeBench) -> None:
    bench = make(HealthState.WARMING, load_timeout_s=0.3)
    with pytest.raises(LoadFailed, match="load_timeout_s"):
        await bench.engine.ensure_ready()
    assert [engine.stops for engine in bench.provider.engines] == [1]


@pytest.mark.parametrize("taken", [1, 9])
async def test_a_port_that_is_taken_is_changed_but_not_for_ever(make: MakeBench, taken: int) -> None:
    bench = make()
    bench.provider.take = taken
    if taken == 1:
        await bench.engine.ensure_ready()
        assert len(bench.provider.engines) == 2
    else:
        with pytest.raises(LoadFailed, match="in use"):
            await bench.engine.ensure_ready()
        assert len(bench.provider.engines) == 3


async def test_stop_during_a_load_leaves_nothing(make: MakeBench) -> None:
    bench = make(HealthState.WARMING)
    loading = bench.engine.start_loading()
    async with asyncio.timeout(20):
        while S.WARMING not in bench.states:
            await asyncio.sleep(0.01)
    await bench.engine.stop()
    assert loading.cancelled()
    assert [engine.stops for engine in bench.provider.engines] == [1]
