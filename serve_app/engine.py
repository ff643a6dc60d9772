"""A slot's engine inside its replica: loaded once for all who wait, watched, and stopped. It alone owns the process, or
what runs natively instead of one."""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from providers.base import (
    Endpoint,
    EngineFront,
    HealthState,
    MemoryNeeds,
    ModelFiles,
    NativeEngine,
    Placement,
    Provider,
)
from providers.devices import Device
from providers.errors import ProviderError
from providers.pulling import ModelUnavailable
from providers.spec import SlotSpec
from serve_app.background import retrieve
from serve_app.engine_log import EngineLog, log_file
from serve_app.engine_memory import resident_bytes
from serve_app.engine_process import EngineProcess
from serve_app.errors import EngineDied, LoadFailed
from serve_app.fronted_process import FrontedProcess
from serve_app.gate import Gate
from serve_app.lifecycle import SlotState
from serve_app.machine import this_node
from serve_app.models import ModelStore, ModelUse
from serve_app.native_process import NativeProcess
from serve_app.progress import Progress
from serve_app.pulls import pulled
from serve_app.running import AnyProcess, Running, how_it_ended
from serve_app.settings import Settings
from serve_app.sleeper import Sleeper

LOOPBACK = "127.0.0.1"
FIRST_POLL_S = 0.01
SLOWEST_POLL_S = 0.25
POLL_SHARE = 0.1
"""Of the time that a load has taken: so much longer it takes at most until it is noticed."""
PORT_TRIES = 3
PORT_TAKEN = ("address already in use", "couldn't bind", "http server error")
REASON_LINES = 20
CRASHES = 3
CRASH_WINDOW_S = 60.0
"""An engine that dies so often within so many seconds is not started again."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One move of a loading engine, for whoever shows it."""

    state: SlotState
    progress: Progress | None = None
    error: LoadFailed | EngineDied | None = None
    gave_up: bool = False
    """With an error: this engine does not try again."""
    load_seconds: float | None = None
    needs: MemoryNeeds | None = None
    measured_bytes: int | None = None
    sleeping: bool = False


class Engine:
    """`ensure_ready` is the one question: it answers in every state, and never leaves its caller without a reason."""

    def __init__(
        self,
        provider: Provider[Any],
        slot: SlotSpec,
        device: Device,
        settings: Settings,
        report: Callable[[LoadReport], None],
        accelerator_ids: tuple[str, ...] = (),
        rank: int = 0,
        reserved: Mapping[str, Any] = {},
    ) -> None:
        """`reserved`: the placement's fields that tell of GPUs on several nodes, if the slot is one over them."""
        self._provider, self._slot, self._device = provider, slot, device
        self._settings, self._report = settings, report
        self._accelerator_ids, self._rank, self._reserved = accelerator_ids, rank, reserved
        self._store = ModelStore(settings.models_dir)
        self._failure: LoadFailed | None = None
        self._deaths: deque[float] = deque(maxlen=CRASHES)
        self._load: asyncio.Task[Running] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._use: ModelUse | None = None
        self._ready: LoadReport | None = None
        """What was told of the engine that runs."""
        self._stopped = False

    @property
    def gave_up(self) -> bool:
        return self._failure is not None

    async def ensure_ready(self) -> Running:
        """Ready: at once. Loading: when it is loaded. Its engine died: starts it anew. Gave up, since its load failed
        or its engine died too often: raises `LoadFailed` with the cause. A caller that leaves does not stop the load.
        """
        while True:
            load = self.start_loading()
            try:
                running = await asyncio.shield(load)
            except asyncio.CancelledError:
                if load.cancelled() and self._failure is not None:
                    raise self._failure.again() from None
                raise
            if not running.lost.done() or (self._load is load and self._stopped):
                return running
            if self._load is load and self._watch is not None:
                await asyncio.wait([self._watch])

    def start_loading(self) -> "asyncio.Task[Running]":
        if self._failure is not None:
            # One that is raised again and again grows by a traceback each time.
            raise self._failure.again()
        if self._load is None:
            self._load = asyncio.create_task(self._load_once())
            self._load.add_done_callback(retrieve)
        return self._load

    async def abort(self, reason: str) -> None:
        """Stop now, whoever waits or is being answered; they are told the reason."""
        self._failure = LoadFailed(self._slot.name, "slot_unloaded", reason)
        await self.stop()

    async def stop(self) -> None:
        """Stop loading or running; nothing is left of the process afterwards."""
        self._stopped = True
        for task in (self._watch, self._load):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if (running := self._loaded) is not None:
            running.lose(EngineDied(self._slot.name, "it was unloaded"))
            await running.stop()
        self._release_files()

    async def reach(self, running: Running, host: str) -> Endpoint:
        """Where who comes by this address of the node finds the engine. Raises `LoadFailed`."""
        if host == LOOPBACK and running.sleeper is None:
            return running.endpoint
        try:
            return await running.gate.listen(host)
        except OSError as error:
            raise self._cannot_listen(error) from error

    async def sleep(self) -> None:
        """Put a quiet engine to sleep until a client sends something, if it is one that may."""
        running = self._loaded
        if running is not None and running.sleeper is not None and not running.lost.done():
            await running.sleeper.fall_asleep()

    @property
    def _loaded(self) -> Running | None:
        """What the last load has brought; None: it is not done, or has failed."""
        load = self._load
        if load is None or not load.done() or load.cancelled() or load.exception() is not None:
            return None
        return load.result()

    def _tell_ready(self, sleeping: bool) -> None:
        if self._ready is not None and not self._stopped:
            self._ready = replace(self._ready, sleeping=sleeping)
            self._report(self._ready)

    async def _load_once(self) -> Running:
        began = time.monotonic()
        try:
            model = await self._held_files()
            needs = self._provider.memory_needs(self._slot, model, self._device)
            async with asyncio.timeout(self._slot.load_timeout_s):
                await self._provider.preflight(self._slot, this_node(self._provider))
                running = await self._bring_up(model, needs)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._load = None
            failure = self._give_up(self._as_load_failure(error))
            if failure is error:
                raise
            raise failure from error
        self._watch = asyncio.create_task(self._watch_exit(running))
        self._ready = LoadReport(SlotState.READY, load_seconds=time.monotonic() - began, needs=needs)
        self._report(self._ready)
        self._measuring = asyncio.create_task(self._measure(running, self._ready))
        return running

    async def _measure(self, running: Running, ready: LoadReport) -> None:
        """Apart from the load: to count the pages of a large model takes a while."""
        measured = await asyncio.to_thread(resident_bytes, running.process.pid)
        if not running.lost.done() and not self._stopped:
            self._ready = replace(self._ready or ready, measured_bytes=measured)
            self._report(self._ready)

    def _give_up(self, failure: LoadFailed) -> LoadFailed:
        self._failure = failure
        self._release_files()
        self._report(LoadReport(SlotState.ERROR, error=failure, gave_up=True))
        return failure

    def _as_load_failure(self, error: Exception) -> LoadFailed:
        name = self._slot.name
        match error:
            case LoadFailed():
                return error
            case ModelUnavailable():
                return LoadFailed(name, error.code, error.message)
            case TimeoutError():
                limit = f"it took longer than load_timeout_s ({self._slot.load_timeout_s:g} s)"
                return LoadFailed(name, "load_timeout", limit)
            case ProviderError():
                return LoadFailed(name, "engine_misconfigured", str(error))
            case _:
                return LoadFailed(name, "load_failed", f"{type(error).__name__}: {error}")

    async def _held_files(self) -> ModelFiles:
        """The model's files, marked as in use, so that nobody removes them."""
        while True:
            model = await self._model_files()
            if self._use is not None:
                return model
            use = ModelUse(self._settings.run_dir, self._slot.name, (model.main, *model.companions.values()))
            with contextlib.suppress(FileNotFoundError):  # removed in between: pull again
                await asyncio.to_thread(use.hold)
                self._use = use

    def _release_files(self) -> None:
        if self._use is not None:
            self._use.release()
            self._use = None

    async def _model_files(self) -> ModelFiles:
        """Pulled where they are missing. A load that is cancelled stops its pull; what has come stays for the next."""
        if self._store.present(self._slot):
            return self._store.fetch(self._slot)
        self._report(LoadReport(SlotState.PULLING))

        def show(progress: Progress) -> None:
            self._report(LoadReport(SlotState.PULLING, progress=progress))

        return await pulled(self._store, self._slot, show)

    async def _bring_up(self, model: ModelFiles, needs: MemoryNeeds | None) -> Running:
        """Another port if someone was faster to take this one."""
        for attempt in range(1, PORT_TRIES + 1):
            try:
                return await self._bring_up_once(model, needs)
            except LoadFailed as failure:
                if attempt == PORT_TRIES or not _port_was_taken(failure):
                    raise
        raise AssertionError("unreachable")

    async def _bring_up_once(self, model: ModelFiles, needs: MemoryNeeds | None) -> Running:
        """Start the engine and wait until the model answers."""
        placement = self._placement()
        process = await self._start(model, placement, needs)
        try:
            await self._until_ready(process, _endpoint(placement))
        except BaseException:
            await process.stop()
            raise
        return self._running(process, _endpoint(placement))

    def _running(self, process: AnyProcess, endpoint: Endpoint) -> Running:
        running = Running(process, endpoint, Gate(endpoint))
        if (provider := self._provider).may_sleep(slot := self._slot):
            running.sleeper = Sleeper(
                running.gate,
                lambda: provider.sleep(slot, endpoint),
                lambda: provider.wake(slot, endpoint),
                self._tell_ready,
                running.condemn,
            )
        return running

    async def _start(self, model: ModelFiles, placement: Placement, needs: MemoryNeeds | None) -> AnyProcess:
        native = self._provider.native(self._slot, model, placement)
        log = EngineLog(log_file(self._settings.logs_dir, self._slot.name, self._rank), (placement.token,))
        if native is not None:
            self._report(LoadReport(SlotState.STARTING, needs=needs))
            return await self._start_native(native, log)
        behind = replace(placement, host=LOOPBACK, port=free_port(), token="")
        front = self._provider.front(self._slot, placement, _endpoint(behind))
        where = placement if front is None else behind
        command = self._provider.start_cmd(self._slot, model, where)
        env = self._provider.build_env(self._slot, model, where)
        self._report(LoadReport(SlotState.STARTING, needs=needs))
        process = await EngineProcess.start(command, env, log)
        return process if front is None else await self._start_front(process, front)

    async def _start_native(self, native: NativeEngine, log: EngineLog) -> NativeProcess:
        try:
            return await NativeProcess.start(native, log)
        except OSError as error:
            raise self._cannot_listen(error) from error

    async def _start_front(self, process: EngineProcess, front: EngineFront) -> FrontedProcess:
        try:
            return await FrontedProcess.start(process, front)
        except OSError as error:
            raise self._cannot_listen(error) from error

    def _cannot_listen(self, error: OSError) -> LoadFailed:
        return LoadFailed(self._slot.name, "engine_exited", f"it cannot listen: {error}", (str(error),))

    def _placement(self) -> Placement:
        node = this_node(self._provider)
        return Placement(
            device=self._device,
            host=LOOPBACK,
            port=free_port(),
            token=secrets.token_urlsafe(24),
            cache_dir=node.cache_dir,
            accelerator_ids=self._accelerator_ids,
            cpu_threads=max(1, int(self._slot.resources.cpu) or os.cpu_count() or 1),
            programs=node.programs,
            base_env=node.base_env,
            **self._reserved,
        )

    async def _until_ready(self, process: AnyProcess, endpoint: Endpoint) -> None:
        """Four exits: ready, the process died, the load's deadline, or the load was cancelled."""
        began, shown = time.monotonic(), LoadReport(SlotState.STARTING)
        died = asyncio.ensure_future(process.wait())
        try:
            while True:
                health = await self._provider.health(endpoint)
                if died.done():
                    raise self._exited(process, died.result())
                if health.state is HealthState.DEAD:
                    detail = self._advised(health.detail or "its health check failed", process)
                    raise LoadFailed(self._slot.name, "engine_unhealthy", detail, process.log.tail(REASON_LINES))
                fraction = health.progress
                if fraction is None:
                    fraction = self._provider.load_progress(process.log.recent())
                quick = health.state is HealthState.READY and shown.state is SlotState.STARTING
                # vLLM's port is closed until its model is loaded; its words tell that it loads.
                if health.state is HealthState.WARMING or fraction is not None or quick:
                    shown = self._show_warming(fraction, shown)
                if health.state is HealthState.READY:
                    return
                await asyncio.wait([died], timeout=poll_pause_s(time.monotonic() - began))
        finally:
            died.cancel()

    def _show_warming(self, fraction: float | None, shown: LoadReport) -> LoadReport:
        """What is shown now. Every load passes through warming, also one that is quicker than the polls."""
        report = LoadReport(SlotState.WARMING, progress=None if fraction is None else Progress(fraction))
        if report != shown:
            self._report(report)
        return report

    def _exited(self, process: AnyProcess, code: int) -> LoadFailed:
        ended = process.verdict or f"its engine {how_it_ended(code)} while loading: {process.log.reason()}"
        return LoadFailed(
            self._slot.name, "engine_exited", self._advised(ended, process), process.log.tail(REASON_LINES)
        )

    def _advised(self, detail: str, process: AnyProcess) -> str:
        advice = self._provider.advice(process.log.recent())
        return detail if advice is None else f"{detail.rstrip('.!')}. {advice}"

    async def _watch_exit(self, running: Running) -> None:
        code = await running.process.wait()
        if self._stopped:
            return
        lines = running.process.log.tail(REASON_LINES)
        ended = running.process.verdict or f"it {how_it_ended(code)}"
        error = EngineDied(self._slot.name, ended, lines)
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == CRASHES and now - self._deaths[0] <= CRASH_WINDOW_S:
            detail = f"its engine died {CRASHES} times within {CRASH_WINDOW_S:g} s; the last time {ended}"
            self._give_up(LoadFailed(self._slot.name, "engine_crash_loop", detail, lines))
        else:
            self._report(LoadReport(SlotState.ERROR, error=error))
        running.lose(error)
        # One that hangs takes its whole grace, and holds its device meanwhile.
        await running.stop()
        self._load = None


def poll_pause_s(loading_s: float) -> float:
    """Between two questions to an engine that has been loading for so long."""
    return min(max(FIRST_POLL_S, POLL_SHARE * loading_s), SLOWEST_POLL_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _endpoint(placement: Placement) -> Endpoint:
    return Endpoint(f"http://{placement.host}:{placement.port}", placement.token)


def _port_was_taken(failure: LoadFailed) -> bool:
    return any(sign in line.lower() for line in failure.last_lines for sign in PORT_TAKEN)
