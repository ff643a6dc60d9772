"""An engine behind a front in its slot's actor, and what its provider looks at before and says after a load."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from providers.base import Endpoint, EngineFront, Node, Placement
from providers.errors import ProviderError
from providers.spec import SlotSpec
from serve_app.engine import Engine, LoadReport
from serve_app.lifecycle import SlotState
from serve_app.settings import Settings
from tests.integration.test_engine import Bench, Fake, until

BROKEN = "it has said nothing for ages"


class Front:
    """Passes everything on, and says whose answer it is."""

    def __init__(self, placement: Placement, engine: Endpoint, taken: bool) -> None:
        self.placement, self.engine, self._taken = placement, engine, taken
        self.breaks = asyncio.Event()
        self.stopped = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        if self._taken:
            raise OSError("address already in use")
        app = web.Application()
        app.router.add_get("/", self._pass_on)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.placement.host, self.placement.port).start()

    async def stop(self) -> None:
        self.stopped = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def broken(self) -> str:
        await self.breaks.wait()
        return BROKEN

    async def _pass_on(self, request: web.Request) -> web.Response:
        try:
            async with aiohttp.ClientSession() as session, session.get(self.engine.url) as response:
                return web.Response(text=await response.text(), headers={"x-front": "yes"})
        except aiohttp.ClientError:
            return web.Response(text="starting")


class Fronted(Fake):
    def __init__(self, folder: Path, way: str) -> None:
        super().__init__(folder, way)
        self.fronts: list[Front] = []

    def front(self, slot: SlotSpec, placement: Placement, engine: Endpoint) -> EngineFront | None:
        self.fronts.append(Front(placement, engine, taken=self.way == "front-taken"))
        return self.fronts[-1]

    async def preflight(self, slot: SlotSpec, node: Node) -> None:
        if self.way == "unfit":
            raise ProviderError("no such hardware: plug it in")

    def advice(self, output: str) -> str | None:
        return "Try turning it off and on." if "bad model" in output else None


MakeFronted = Callable[[str], tuple[Bench, Fronted]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeFronted]:
    made: list[Bench] = []

    def bench(way: str) -> tuple[Bench, Fronted]:
        one = Bench(tmp_path, way)
        provider = Fronted(one.folder, way)
        one.provider = provider
        reports: list[LoadReport] = one.reports
        one.engine = Engine(provider, one.engine._slot, one.engine._device, Settings(tmp_path, ()), reports.append)
        made.append(one)
        return one, provider

    yield bench
    for one in made:
        await one.engine.stop()
        assert one.living == []


def refuses(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


async def header(url: str) -> str | None:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        value: Any = response.headers.get("x-front")
        return None if value is None else str(value)


async def test_the_front_is_what_is_asked(make: MakeFronted) -> None:
    bench, provider = make("well")
    running = await bench.engine.ensure_ready()
    (front,) = provider.fronts
    assert running.endpoint.url == f"http://{front.placement.host}:{front.placement.port}" != front.engine.url
    assert running.endpoint.token == front.placement.token and front.engine.token == ""
    assert await header(running.endpoint.url) == "yes" and await header(front.engine.url) is None
    await bench.engine.stop()
    assert front.stopped and refuses(running.endpoint.url) and refuses(front.engine.url)


async def test_an_engine_that_its_front_finds_broken_is_started_anew(make: MakeFronted) -> None:
    bench, provider = make("well")
    first = await bench.engine.ensure_ready()
    provider.fronts[0].breaks.set()
    async with asyncio.timeout(20):
        assert BROKEN in str(await first.lost)
    await until(lambda: provider.fronts[0].stopped)
    assert SlotState.ERROR in bench.states
    second = await bench.engine.ensure_ready()
    assert len(provider.fronts) == 2 and await header(second.endpoint.url) == "yes"


async def test_a_broken_engine_that_does_not_end_is_left_at_once(make: MakeFronted) -> None:
    """Who is with it is told before its grace is over, and who comes waits for another one."""
    bench, provider = make("stubborn")
    first = await bench.engine.ensure_ready()
    (pid,) = bench.living
    provider.fronts[0].breaks.set()
    async with asyncio.timeout(20):
        await first.lost
        assert bench.living == [pid], "it still has its grace"
        second = await bench.engine.ensure_ready()
    assert second is not first and bench.living != [pid], "the first has ended before the second began"
    assert len(bench.living) == 1


async def test_a_front_that_cannot_listen_takes_its_engine_along(make: MakeFronted) -> None:
    bench, _ = make("front-taken")
    assert "address already in use" in (await bench.failure()).detail
    assert bench.living == []


async def test_what_the_provider_finds_beforehand_ends_a_load_before_it_begins(make: MakeFronted) -> None:
    bench, provider = make("unfit")
    failure = await bench.failure()
    assert failure.code == "engine_misconfigured" and "plug it in" in failure.detail
    assert bench.pids == [] and provider.fronts == []


async def test_a_failed_load_comes_with_advice(make: MakeFronted) -> None:
    bench, provider = make("fall")
    failure = await bench.failure()
    assert failure.code == "engine_exited" and failure.detail.endswith("Try turning it off and on.")
    assert all(front.stopped for front in provider.fronts)
