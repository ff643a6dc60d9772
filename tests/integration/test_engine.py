"""The engine of a slot, with a provider whose program the tests hold in their hands."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

from providers.base import Command, Endpoint, Health, HealthState, MemoryNeeds, ModelFiles, Placement, Provider, Route
from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.errors import ProviderError
from providers.pulling import ModelUnavailable, PullCancelled, PullProgress
from providers.spec import SlotSpec
from serve_app.engine import FIRST_POLL_S, SLOWEST_POLL_S, Engine, LoadReport, poll_pause_s
from serve_app.errors import EngineDied, LoadFailed
from serve_app.lifecycle import SlotState as S
from serve_app.models import ModelUse
from serve_app.models.in_use import uses
from serve_app.progress import Progress
from serve_app.settings import Settings

PATIENCE_S = 20.0
NEEDS = MemoryNeeds(weights_bytes=7, cache_bytes=3)
PROGRAM = """
import http.server, os, pathlib, signal, sys, time
port, folder, way = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
(folder / f"pid-{os.getpid()}").touch()
if way == "fall":
    sys.exit("error: bad model")
if way == "taken" and len(list(folder.glob("pid-*"))) == 1 or way == "always-taken":
    sys.exit("bind: Address already in use")
if way == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if way in ("hang", "tells"):
    print("loaded 75%", flush=True)
    time.sleep(99 if way == "hang" else 0)
state = "warming"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global state
        self.send_response(200)
        self.end_headers()
        self.wfile.write(state.encode())
        if way != "tells" or (folder / "go-on").exists():
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
        return Health(state, progress=0.5 if state is HealthState.WARMING and self.way != "tells" else None)

    def memory_needs(self, slot: SlotSpec, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        return NEEDS

    def load_progress(self, output: str) -> float | None:
        return 0.75 if "loaded 75%" in output else None

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
        return [int(path.name.removeprefix("pid-")) for path in self.folder.glob("pid-*")]

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
    assert bench.states[:3] == [S.STARTING, S.WARMING, S.READY]
    assert bench.reports[1].progress == Progress(0.5)
    assert (bench.reports[2].load_seconds or 0) > 0
    assert [bench.reports[at].needs for at in (0, 2)] == [NEEDS, NEEDS]
    assert running.process.alive and not running.lost.done()
    assert await bench.engine.ensure_ready() is running


@pytest.mark.parametrize("loading_s", [0.0, 0.05, 0.3, 1.0, 2.0, 10.0, 300.0])
def test_a_load_that_is_done_is_noticed_soon_for_its_length(loading_s: float) -> None:
    pause_s = poll_pause_s(loading_s)
    assert FIRST_POLL_S <= pause_s <= SLOWEST_POLL_S
    assert pause_s <= max(FIRST_POLL_S, 0.1 * loading_s)


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
    assert bench.reports[-1].error is error and bench.reports[-1].gave_up
    assert bench.living == []


async def test_a_failed_load_is_final_and_told_again_at_once(make: MakeBench) -> None:
    bench = make("fall")
    assert not bench.engine.gave_up
    first = await bench.failure()
    bench.provider.way = "well"
    assert bench.engine.gave_up
    assert (await bench.failure()).args == first.args
    with pytest.raises(LoadFailed):
        bench.engine.start_loading()
    assert len(bench.pids) == 1 and bench.states.count(S.ERROR) == 1


async def test_a_failed_load_is_told_to_all_who_wait(make: MakeBench) -> None:
    bench = make("fall")
    waiting = [asyncio.create_task(bench.engine.ensure_ready()) for _ in range(3)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], LoadFailed) and all(one is answers[0] for one in answers)


async def test_memory_is_measured_once_it_is_loaded(make: MakeBench) -> None:
    bench = make()
    await bench.engine.ensure_ready()
    await until(lambda: bench.reports[-1].measured_bytes is not None)
    measured = bench.reports[-1]
    assert measured.state is S.READY and (measured.measured_bytes or 0) > 2**20
    assert (measured.load_seconds, measured.needs) == (bench.reports[-2].load_seconds, NEEDS)


async def test_what_an_engine_writes_tells_how_far_it_is_where_its_health_does_not(make: MakeBench) -> None:
    bench = make("tells")
    loading = bench.engine.start_loading()
    await until(lambda: bench.reports and bench.reports[-1].progress == Progress(0.75))
    assert bench.states[-1] is S.WARMING
    (bench.folder / "go-on").touch()
    await loading


async def test_a_provider_need_not_know_what_an_engine_needs_and_how_far_it_is(
    make: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Fake, "memory_needs")
    monkeypatch.delattr(Fake, "load_progress")
    bench = make("tells")
    (bench.folder / "go-on").touch()
    await bench.engine.ensure_ready()
    assert {report.needs for report in bench.reports} == {None}
    assert [report.progress for report in bench.reports[:3]] == [None, None, None]


async def test_a_port_that_is_taken_is_changed(make: MakeBench) -> None:
    bench = make("taken")
    await bench.engine.ensure_ready()
    assert len(bench.pids) == 2
    assert bench.states[:4] == [S.STARTING, S.STARTING, S.WARMING, S.READY]


async def test_but_not_for_ever(make: MakeBench) -> None:
    bench = make("always-taken")
    assert "in use" in (await bench.failure()).detail
    assert len(bench.pids) == 3


async def died(bench: Bench) -> EngineDied:
    """A running engine's end, by the kernel."""
    running = await bench.engine.ensure_ready()
    os.kill(max(bench.living), 9)
    return await asyncio.wait_for(running.lost, PATIENCE_S)


async def test_a_death_is_told_and_the_next_request_loads_again(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    error = await died(bench)
    assert "signal 9" in error.detail
    assert bench.reports[-1] == LoadReport(S.ERROR, error=error)
    assert not bench.engine.gave_up
    again = await bench.engine.ensure_ready()
    assert again is not running and len(bench.living) == 1


async def test_an_engine_that_dies_again_and_again_is_given_up(make: MakeBench) -> None:
    bench = make()
    for _ in range(2):
        await died(bench)
        assert not bench.engine.gave_up
    lost = await died(bench)
    assert "signal 9" in lost.detail
    failure = await bench.failure()
    assert failure.cause == "engine_crash_loop" and "3 times within 60 s" in failure.detail
    last = bench.reports[-1]
    assert last.gave_up and last.error is not None and last.error.args == failure.args
    assert len(bench.pids) == 3 and bench.living == []


async def test_deaths_that_are_far_apart_are_no_loop(make: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.engine.CRASH_WINDOW_S", 0.0)
    bench = make()
    for _ in range(4):
        await died(bench)
    assert not bench.engine.gave_up
    assert (await bench.engine.ensure_ready()).process.alive


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


async def test_abort_during_a_load_tells_all_who_wait(make: MakeBench) -> None:
    bench = make("hang")
    waiting = [asyncio.create_task(bench.engine.ensure_ready()) for _ in range(2)]
    await until(lambda: bench.pids)
    await bench.engine.abort("it was unloaded")
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, LoadFailed)
        assert (answer.cause, answer.detail) == ("slot_unloaded", "it was unloaded")
    assert bench.living == [] and bench.engine.gave_up
    assert (await bench.failure()).cause == "slot_unloaded"


async def test_abort_ends_a_running_engine_for_good(make: MakeBench) -> None:
    bench = make()
    running = await bench.engine.ensure_ready()
    await bench.engine.abort("it was unloaded")
    assert "unloaded" in running.lost.result().detail
    assert (await bench.failure()).cause == "slot_unloaded"
    assert bench.living == [] and len(bench.pids) == 1
    assert S.ERROR not in bench.states, "it was asked to"


async def test_abort_twice_is_once(make: MakeBench) -> None:
    bench = make()
    await bench.engine.abort("it was unloaded")
    await bench.engine.abort("it was unloaded")
    assert (await bench.failure()).cause == "slot_unloaded"
    assert bench.pids == []


@pytest.mark.parametrize("way", ["well", "fall"])
async def test_its_files_are_in_use_as_long_as_it_may_read_them(make: MakeBench, tmp_path: Path, way: str) -> None:
    run_dir = Settings(tmp_path, ()).run_dir
    bench = make(way)
    loading = bench.engine.start_loading()
    await until(lambda: bench.pids)
    if way == "well":
        await loading
        assert [(use.slot, use.paths) for use in uses(run_dir)] == [("chat", (tmp_path / "models/m.gguf",))]
    await asyncio.wait([loading])
    await bench.engine.stop()
    assert uses(run_dir) == []


# Pulling.


class Store:
    """A model store whose pull goes on when the test says so, and which notices at once when it is cancelled."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.here = False
        self.cancelled: threading.Event | None = None
        self.go_on, self.ended = threading.Event(), threading.Event()

    def present(self, slot: SlotSpec) -> bool:
        return self.here

    def fetch(
        self,
        slot: SlotSpec,
        on_progress: Callable[[PullProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> ModelFiles:
        files = ModelFiles(self.folder / "models/m.gguf")
        if on_progress is None or cancelled is None:
            return files
        self.cancelled = cancelled
        on_progress(PullProgress(25, 100, None, None, "m.gguf"))
        try:
            while not self.go_on.wait(0.01):
                if cancelled.is_set():
                    on_progress(PullProgress(50, 100, None, None, "m.gguf"))
                    raise PullCancelled
            if self.error is not None:
                raise self.error
            on_progress(PullProgress(100, 100, 5.0, 0.0, "m.gguf"))
            self.here = True
            return files
        finally:
            self.ended.set()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store(tmp_path)
    monkeypatch.setattr("serve_app.engine.ModelStore", lambda folder: store)
    return store


async def test_a_pull_is_told_in_bytes(make: MakeBench, store: Store) -> None:
    bench = make()
    loading = bench.engine.start_loading()
    await until(lambda: len(bench.reports) == 2)
    store.go_on.set()
    await loading
    assert bench.states[:6] == [S.PULLING] * 3 + [S.STARTING, S.WARMING, S.READY]
    assert [report.progress for report in bench.reports[:3]] == [
        None,
        Progress(0.25, 25, 100, None, None),
        Progress(1.0, 100, 100, 5.0, 0.0),
    ]


async def test_a_model_that_is_removed_before_it_is_marked_is_pulled_again(
    make: MakeBench, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.go_on.set()
    gone = iter([FileNotFoundError()])

    def hold(self: ModelUse) -> None:
        for error in gone:
            store.here = False
            raise error

    monkeypatch.setattr(ModelUse, "hold", hold)
    bench = make()
    assert (await bench.engine.ensure_ready()).process.alive
    assert [report.progress for report in bench.reports].count(Progress(1.0, 100, 100, 5.0, 0.0)) == 2


async def test_a_pull_that_fails_says_why(make: MakeBench, store: Store) -> None:
    store.error = ModelUnavailable("disk_full", "The disk is full.")
    store.go_on.set()
    bench = make()
    failure = await bench.failure()
    assert (failure.cause, failure.detail) == ("disk_full", "The disk is full.")
    assert bench.states[-1] is S.ERROR and bench.pids == []


async def test_a_pull_takes_as_long_as_it_takes(make: MakeBench, store: Store) -> None:
    """`load_timeout_s` is for what comes after it."""
    bench = make("hang", load_timeout_s=0.2)
    loading = bench.engine.start_loading()
    await until(lambda: len(bench.reports) == 2)
    await asyncio.wait([loading], timeout=0.5)
    assert not loading.done()
    store.go_on.set()
    assert (await bench.failure()).cause == "load_timeout"


@pytest.mark.parametrize("how", ["stop", "abort"])
async def test_a_pull_that_nobody_wants_any_more_is_cancelled_and_says_no_more(
    make: MakeBench, store: Store, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    loading = bench.engine.start_loading()
    await until(lambda: len(bench.reports) == 2)
    await (bench.engine.stop() if how == "stop" else bench.engine.abort("it was unloaded"))
    assert store.cancelled is not None and store.cancelled.is_set() and store.ended.is_set()
    assert loading.cancelled()
    await asyncio.sleep(0)
    assert [report.progress for report in bench.reports] == [None, Progress(0.25, 25, 100, None, None)]
    assert bench.pids == []
    del loading
    gc.collect()
    assert caplog.records == [], "asyncio does not complain of what nobody asks any more"
