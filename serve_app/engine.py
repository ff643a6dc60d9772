"""A slot's engine inside its replica: loaded once for all who wait, watched, and stopped. It alone owns the process."""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from providers.base import Endpoint, Health, HealthState, ModelFiles, Placement, Provider
from providers.devices import Device
from providers.errors import ProviderError
from providers.spec import SlotSpec
from serve_app.cooldown import Cooldown
from serve_app.engine_log import EngineLog, log_file
from serve_app.engine_process import EngineProcess
from serve_app.errors import EngineDied, LoadFailed
from serve_app.lifecycle import SlotState
from serve_app.machine import programs_on_path
from serve_app.models import ModelStore, ModelUnavailable
from serve_app.settings import Settings, engine_base_env

LOOPBACK = "127.0.0.1"
FIRST_POLL_S = 0.01
SLOWEST_POLL_S = 0.25
PORT_TRIES = 3
PORT_TAKEN = ("address already in use", "couldn't bind", "http server error")
REASON_LINES = 20
SIGNAL_BASE = 128


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One move of a loading engine, for whoever shows it."""

    state: SlotState
    progress: float | None = None
    error: LoadFailed | EngineDied | None = None
    next_try: float | None = None
    """Unix seconds."""
    load_seconds: float | None = None


@dataclass(slots=True)
class Running:
    """A loaded engine. `lost` resolves to the reason once it must not be used any more."""

    process: EngineProcess
    endpoint: Endpoint
    lost: asyncio.Future[EngineDied] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


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
    ) -> None:
        self._provider, self._slot, self._device = provider, slot, device
        self._settings, self._report = settings, report
        self._accelerator_ids, self._rank = accelerator_ids, rank
        self._store = ModelStore(settings.models_dir)
        self._cooldown = Cooldown()
        self._last_failure: LoadFailed | None = None
        self._load: asyncio.Task[Running] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False

    async def ensure_ready(self) -> Running:
        """Ready: at once. Loading: when it is loaded. Not loaded: loads it. Cooling down after a failure, or failed:
        raises `LoadFailed` with the cause. A caller that leaves does not stop the load."""
        load = self.start_loading()
        return await asyncio.shield(load)

    def start_loading(self) -> "asyncio.Task[Running]":
        if self._load is None:
            if self._last_failure and (wait_s := self._cooldown.remaining(time.monotonic())):
                failure = self._last_failure
                raise LoadFailed(failure.slot, failure.cause, failure.detail, failure.last_lines, wait_s)
            self._load = asyncio.create_task(self._load_once())
            self._load.add_done_callback(_retrieve)
        return self._load

    async def stop(self) -> None:
        """Stop loading or running; nothing is left of the process afterwards."""
        self._stopped = True
        for task in (self._watch, self._load):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._load is not None and not self._load.cancelled() and self._load.exception() is None:
            running = self._load.result()
            _lose(running, EngineDied(self._slot.name, "it was unloaded"))
            await running.process.stop()

    async def _load_once(self) -> Running:
        began = time.monotonic()
        try:
            model = await self._model_files()
            async with asyncio.timeout(self._slot.load_timeout_s):
                running = await self._bring_up(model)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._load = None
            raise self._failed(error) from error
        self._cooldown.succeeded()
        self._last_failure = None
        self._watch = asyncio.create_task(self._watch_exit(running))
        self._report(LoadReport(SlotState.READY, load_seconds=time.monotonic() - began))
        return running

    def _failed(self, error: Exception) -> LoadFailed:
        failure = self._as_load_failure(error)
        wait_s = self._cooldown.failed(time.monotonic())
        failure = LoadFailed(failure.slot, failure.cause, failure.detail, failure.last_lines, wait_s)
        self._last_failure = failure
        self._report(LoadReport(SlotState.ERROR, error=failure, next_try=time.time() + wait_s))
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

    async def _model_files(self) -> ModelFiles:
        if not self._store.present(self._slot):
            self._report(LoadReport(SlotState.PULLING))
        return await asyncio.to_thread(self._store.fetch, self._slot)

    async def _bring_up(self, model: ModelFiles) -> Running:
        """Start the engine and wait until the model answers; another port if someone was faster to take this one."""
        for attempt in range(1, PORT_TRIES + 1):
            placement = self._placement()
            process = await self._start(model, placement)
            try:
                await self._until_ready(process, _endpoint(placement))
                return Running(process, _endpoint(placement))
            except LoadFailed as failure:
                await process.stop()
                if attempt == PORT_TRIES or not _port_was_taken(failure):
                    raise
            except BaseException:
                await process.stop()
                raise
        raise AssertionError("unreachable")

    async def _start(self, model: ModelFiles, placement: Placement) -> EngineProcess:
        command = self._provider.start_cmd(self._slot, model, placement)
        env = self._provider.build_env(self._slot, model, placement)
        log = EngineLog(log_file(self._settings.logs_dir, self._slot.name, self._rank), (placement.token,))
        self._report(LoadReport(SlotState.STARTING))
        return await EngineProcess.start(command, env, log)

    def _placement(self) -> Placement:
        return Placement(
            device=self._device,
            host=LOOPBACK,
            port=free_port(),
            token=secrets.token_urlsafe(24),
            cache_dir=self._settings.cache_dir,
            accelerator_ids=self._accelerator_ids,
            cpu_threads=max(1, int(self._slot.resources.cpu) or os.cpu_count() or 1),
            programs=programs_on_path(self._provider),
            base_env=engine_base_env(),
        )

    async def _until_ready(self, process: EngineProcess, endpoint: Endpoint) -> None:
        """Four exits: ready, the process died, the load's deadline, or the load was cancelled."""
        poll_s, shown = FIRST_POLL_S, Health(HealthState.STARTING)
        died = asyncio.ensure_future(process.wait())
        try:
            while True:
                health = await self._provider.health(endpoint)
                if died.done():
                    raise self._exited(process, died.result())
                if health.state is HealthState.READY:
                    return
                if health.state is HealthState.WARMING and health != shown:
                    self._report(LoadReport(SlotState.WARMING, progress=health.progress))
                    shown = health
                if health.state is HealthState.DEAD:
                    detail = health.detail or "its health check failed"
                    raise LoadFailed(self._slot.name, "engine_unhealthy", detail, process.log.tail(REASON_LINES))
                await asyncio.wait([died], timeout=poll_s)
                poll_s = min(poll_s * 1.5, SLOWEST_POLL_S)
        finally:
            died.cancel()

    def _exited(self, process: EngineProcess, code: int) -> LoadFailed:
        detail = f"its engine {how_it_ended(code)} while loading: {process.log.reason()}"
        return LoadFailed(self._slot.name, "engine_exited", detail, process.log.tail(REASON_LINES))

    async def _watch_exit(self, running: Running) -> None:
        code = await running.process.wait()
        if self._stopped:
            return
        error = EngineDied(self._slot.name, f"it {how_it_ended(code)}", running.process.log.tail(REASON_LINES))
        self._load = None
        self._report(LoadReport(SlotState.ERROR, error=error))
        _lose(running, error)
        await running.process.stop()


def how_it_ended(code: int) -> str:
    if code <= SIGNAL_BASE:
        return f"exited with code {code}"
    name = signal.strsignal(code - SIGNAL_BASE) or "unknown"
    return f"was ended by signal {code - SIGNAL_BASE} ({name})"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _endpoint(placement: Placement) -> Endpoint:
    return Endpoint(f"http://{placement.host}:{placement.port}", placement.token)


def _port_was_taken(failure: LoadFailed) -> bool:
    return any(sign in line.lower() for line in failure.last_lines for sign in PORT_TAKEN)


def _lose(running: Running, reason: EngineDied) -> None:
    if not running.lost.done():
        running.lost.set_result(reason)


def _retrieve(task: "asyncio.Task[Running]") -> None:
    """A failed load nobody waits for is reported elsewhere; asyncio need not complain about it, too."""
    if not task.cancelled():
        task.exception()
