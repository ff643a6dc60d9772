"""The engine of a slot, with a provider whose program the tests hold in their hands."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

from providers.base import Command, Endpoint, Health, HealthState, ModelFiles, Placement, Provider, Route
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.errors import ProviderError
from providers.spec import SlotSpec
from serve_app.engine import Engine, LoadReport
from serve_app.errors import LoadFailed
from serve_app.lifecycle import SlotState as S
from serve_app.settings import Settings

PATIENCE_S = 20.0
PROGRAM = """
import http.server, os, pathlib, sys, time
port, folder, way = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
(folder / f"pid-{os.getpid()}").touch()
if way == "fall":
    sys.exit("error: bad model")
if way == "taken" and len(list(folder.glob("pid-*"))) == 1 or way == "always-taken":
    sys.exit("bind: Address already in use")
if way == "hang":
    time.sleep(99)
state = "warming"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global state
        self.send_response(200)
        self.end_headers()
        self.wfile.write(state.encode())
        state = "dead" if way == "sick" else "ready"
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Fake(Provider[SlotSpec]):
    name = "fake"
    spec = SlotSpec
    capabilities = frozenset({Capability.CHAT})
    devices: ClassVar[frozenset[Device]] = frozenset({Device.CPU})

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self.way = folder, way

    def build_env(self, slot: SlotSpec, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return dict(placement.base_env)

    def start_cmd(self, slot: SlotSpec, model: ModelFiles, placement: Placement) -> Command:
        if self.way == "misconfigured":
            raise ProviderError("no such program")
        return Command((sys.executable, "-c", PROGRAM, str(placement.port), str(self.folder), self.way))

    async def health(self, endpoint: Endpoint) -> Health:
        try:
            async with aiohttp.ClientSession() as session, session.get(endpoint.url) as response:
                state = HealthState(await response.text())
        except aiohttp.ClientError:
            return Health(HealthState.STARTING)
        return Health(state, progress=0.5 if state is HealthState.WARMING else None)

    def infer(self, operation: Operation) -> Route | None:
        return None


class Bench:
    """An engine, what it reported, and the processes that it started."""

    def __init__(self, folder: Path, way: str, **more: Any) -> None:
        self.folder = folder / "pids"
        self.folder.mkdir()
        (folder / "models").mkdir()
        (folder / "models/m.gguf").touch()
        slot = SlotSpec(**{"model": "m.gguf", **more}, name="chat", provider="fake", capabilities=(Capability.CHAT,))
        self.provider = Fake(self.folder, way)
        self.reports: list[LoadReport] = []
        self.engine = Engine(self.provider, slot, Device.CPU, Settings(folder, ()), self.reports.append)

    @property
    def states(self) -> list[S]:
        return [report.state for report in self.reports]

    @property
    def pids(self) -> list[int]:
        return [int(path.name.removeprefix("pid-")) for path in self.folder.iterdir()]

    @property
    def living(self) -> list[int]:
        return [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]

    async def failure(self) -> LoadFailed:
        with pytest.raises(LoadFailed) as refused:
            await self.engine.ensure_ready()
        return refused.value


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.01)


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    def bench(way: str = "well", **more: Any) -> Bench:
        made.append(Bench(tmp_path, way, **more))
        return made[-1]

    yield bench
    for one in made:
        await one.engine.stop()
        assert one.living == []


async def test_a_load_reports_its_steps(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    assert bench.states == [S.STARTING, S.WARMING, S.READY]
    assert bench.reports[1].progress == 0.5
    assert (bench.reports[-1].load_seconds or 0) > 0
    assert running.process.alive and not running.lost.done()
    assert await bench.engine.ensure_ready() is running


async def test_all_who_wait_share_one_load(make: MakeBench) -> None:
    bench = make()
    impatient = asyncio.create_task(bench.engine.ensure_ready())
    waiting = [asyncio.create_task(bench.engine.ensure_ready()) for _ in range(3)]
    await until(lambda: bench.pids)
    impatient.cancel()
    first, *others = await asyncio.gather(*waiting)
    assert all(other is first for other in others)
    assert len(bench.pids) == 1


@pytest.mark.parametrize(
    ("way", "more", "cause", "detail"),
    [
        ("fall", {}, "engine_exited", "exited with code 1 while loading: error: bad model"),
        ("sick", {}, "engine_unhealthy", "its health check failed"),
        ("hang", {"load_timeout_s": 0.5}, "load_timeout", "load_timeout_s (0.5 s)"),
        ("misconfigured", {}, "engine_misconfigured", "no such program"),
        ("well", {"model": "absent.gguf"}, "model_missing", "absent.gguf does not exist"),
    ],
)
async def test_a_load_that_fails_says_why(
    make: MakeBench, way: str, more: dict[str, Any], cause: str, detail: str
) -> None:
    bench = make(way, **more)
    error = await bench.failure()
    assert error.cause == cause and detail in error.detail
    assert bench.states[-1] is S.ERROR
    assert bench.reports[-1].error is error and bench.reports[-1].next_try is not None
    assert bench.living == []


async def test_a_failure_is_followed_by_a_pause(make: MakeBench) -> None:
    bench = make("fall")
    first = await bench.failure()
    again = await bench.failure()
    assert len(bench.pids) == 1
    assert (again.cause, again.last_lines) == (first.cause, first.last_lines)
    assert 0 < (again.retry_after_s or 0) <= (first.retry_after_s or 0)


async def test_after_the_pause_it_is_tried_again(make: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make("fall")
    await bench.failure()
    monkeypatch.setattr("serve_app.cooldown.Cooldown.remaining", lambda *_: 0.0)
    bench.provider.way = "well"
    assert (await bench.engine.ensure_ready()).process.alive


async def test_a_port_that_is_taken_is_changed(make: MakeBench) -> None:
    bench = make("taken")
    await bench.engine.ensure_ready()
    assert len(bench.pids) == 2
    assert bench.states == [S.STARTING, S.STARTING, S.WARMING, S.READY]


async def test_but_not_for_ever(make: MakeBench) -> None:
    bench = make("always-taken")
    assert "in use" in (await bench.failure()).detail
    assert len(bench.pids) == 3


async def test_a_death_is_told_and_the_next_request_loads_again(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    os.kill(bench.pids[0], 9)
    error = await asyncio.wait_for(running.lost, PATIENCE_S)
    assert "signal 9" in error.detail
    assert bench.reports[-1] == LoadReport(S.ERROR, error=error)
    again = await bench.engine.ensure_ready()
    assert again is not running and len(bench.living) == 1


async def test_stop_ends_a_running_engine(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    await bench.engine.stop()
    assert "unloaded" in running.lost.result().detail
    assert bench.living == [] and bench.states[-1] is S.READY


async def test_stop_during_a_load_leaves_nothing(make: MakeBench) -> None:
    bench = make("hang")
    bench.engine.start_loading()
    await until(lambda: bench.pids)
    await bench.engine.stop()
    assert bench.living == []


async def test_stop_before_anything_was_loaded(make: MakeBench) -> None:
    bench = make()
    await bench.engine.stop()
    assert bench.pids == []
