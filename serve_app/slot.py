"""The slot's Serve deployment: it owns the engine, and counts as busy as long as somebody holds a lease on it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve

from providers.base import Endpoint
from providers.devices import Device
from providers.registry import provider
from serve_app.autoscaling import QUIET_METRIC
from serve_app.board import ReplicaNews, error_record
from serve_app.config import parse_slot
from serve_app.engine import Engine, LoadReport, Running
from serve_app.errors import LoadFailed
from serve_app.lifecycle import LOADING, SlotState
from serve_app.liveness import gone_among
from serve_app.mailbox import Mailbox
from serve_app.settings import load_settings

IN_USE_S = 0.0
UPKEEP_S = 5.0


@dataclass(frozen=True, slots=True)
class Granted:
    """The first item of a lease: where to send requests."""

    replica: str
    endpoint: Endpoint
    capacity: int


class SlotDeployment:
    """Serve starts and stops it; the engine inside is loaded as soon as it exists."""

    def __init__(self, raw_slot: Mapping[str, Any], device: str, board: Any) -> None:
        self._slot = parse_slot(raw_slot)
        context = serve.get_replica_context()
        self._replica = context.replica_id.unique_id
        self._node = ray.get_runtime_context().get_node_id()
        self._device = Device(device)
        self._holders: dict[asyncio.Event, str] = {}
        self._quiet_since = time.monotonic()
        self._news_count = 0
        self._last_report: LoadReport | None = None
        self._mailbox: Mailbox[ReplicaNews] = Mailbox(board.hear.remote)
        self._upkeep = asyncio.create_task(self._keep_up())
        self._engine = Engine(
            provider(self._slot.provider),
            self._slot,
            self._device,
            load_settings(),
            self._tell,
            accelerator_ids=assigned_accelerators(self._device),
            rank=rank_of(context),
        )
        self._engine.start_loading()

    async def lease(self, holder: str) -> AsyncIterator[Granted]:
        """Open as long as its holder, an ingress replica, uses the slot. The first item comes when the engine is ready.

        Raises `LoadFailed` if it cannot be, `EngineDied` when it goes away later.
        """
        released = asyncio.Event()
        self._holders[released] = holder
        try:
            running = await self._engine.ensure_ready()
            yield Granted(self._replica, running.endpoint, self._slot.parallel_requests)
            await self._until_released_or_lost(released, running)
        finally:
            del self._holders[released]
            self._quiet_since = time.monotonic()

    async def _until_released_or_lost(self, released: asyncio.Event, running: Running) -> None:
        release = asyncio.create_task(released.wait())
        ends: list[asyncio.Future[Any]] = [release, running.lost]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            release.cancel()
        if running.lost.done():
            raise running.lost.result()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Quiet seconds: nobody held a lease, nor was the engine loading. An ingress gives a lease back only after
        `idle_after_s` without a request, so that time counts, too."""
        if self._holders or self._loading:
            self._quiet_since = time.monotonic()
            return {QUIET_METRIC: IN_USE_S}
        return {QUIET_METRIC: time.monotonic() - self._quiet_since + linger_s(self._slot)}

    @property
    def _loading(self) -> bool:
        report = self._last_report
        return report is None or report.state in LOADING

    async def __del__(self) -> None:
        self._upkeep.cancel()
        self._tell(LoadReport(SlotState.UNLOADING))
        await self._engine.stop()
        self._tell(LoadReport(SlotState.OFFLINE))
        await self._mailbox.close()

    async def _keep_up(self) -> None:
        """Release the leases of ingresses that were killed; load again what must always be there; tell a board that
        was restarted what it has missed."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            gone = await gone_among(frozenset(self._holders.values()))
            for released, holder in self._holders.items():
                if holder in gone:
                    released.set()
            if self._slot.replica_floor:
                with contextlib.suppress(LoadFailed):  # it is cooling down, and will be tried again
                    self._engine.start_loading()
            if self._last_report is not None:
                self._tell(self._last_report)

    def _tell(self, report: LoadReport) -> None:
        self._last_report = report
        self._news_count += 1
        self._mailbox.post(
            ReplicaNews(
                slot=self._slot.name,
                replica=self._replica,
                number=self._news_count,
                state=report.state,
                node=self._node,
                device=self._device.value,
                progress=report.progress,
                load_seconds=report.load_seconds,
                error=shown_error(report),
            )
        )


def rank_of(context: Any) -> int:
    """A replica's number among its deployment's, which names its log files. `context` is Serve's replica context."""
    return int(context.rank.rank) if context.rank is not None else 0


def linger_s(slot: Any) -> float:
    """How long an ingress keeps a lease that it does not use."""
    idle_after_s = float(slot.idle_after_s)
    return idle_after_s if slot.unload_after_s is None else min(idle_after_s, float(slot.unload_after_s))


def shown_error(report: LoadReport) -> dict[str, Any] | None:
    if report.error is None:
        return None
    return error_record(report.error, report.error.last_lines, report.next_try)


def assigned_accelerators(device: Device) -> tuple[str, ...]:
    if device not in (Device.CUDA, Device.ROCM):
        return ()
    assigned = ray.get_runtime_context().get_accelerator_ids()
    return tuple(str(index) for index in assigned.get("GPU", []))
