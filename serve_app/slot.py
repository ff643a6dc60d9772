"""The slot's Serve deployment: it owns the engine, and grants leases on it."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import ray
from ray import serve

from providers.base import MemoryNeeds
from providers.devices import Device
from providers.registry import provider
from serve_app.background import repeatedly
from serve_app.config import parse_slot
from serve_app.engine import LOOPBACK, Engine, LoadReport
from serve_app.engine_memory import available_bytes
from serve_app.errors import LoadFailed
from serve_app.granted import Granted
from serve_app.lifecycle import SlotState
from serve_app.liveness import gone_among
from serve_app.mailbox import Mailbox
from serve_app.news import ReplicaNews, error_record
from serve_app.orders import Order
from serve_app.running import Running
from serve_app.settings import load_settings
from serve_app.stages import further_nodes, reservation
from serve_app.unchanged import Fingerprint

UPKEEP_S = 2.0
ORDER_WAIT_S = 10.0
ANSWER_WAIT_S = 2.0
SUSPICION_S = 0.5


class SlotDeployment:
    """Serve starts and stops it; the engine inside is loaded as soon as it exists."""

    def __init__(self, raw_slot: Mapping[str, Any], device: str, board: Any) -> None:
        # Serve collects garbage when this returns, for about 0.1 s in which the engine would not be started. What has
        # been imported lives for ever, and need not be looked through.
        gc.freeze()
        self._slot = parse_slot(raw_slot)
        context = serve.get_replica_context()
        self._replica = context.replica_id.unique_id
        self._node = ray.get_runtime_context().get_node_id()
        self._address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self._device = Device(device)
        self._further = further_nodes() if self._slot.stages > 1 else ()
        self._board = board
        self._holders: dict[asyncio.Event, str] = {}
        self._news_count = 0
        self._last_report: LoadReport | None = None
        self._mailbox: Mailbox[ReplicaNews] = Mailbox(board.hear.remote)
        self._tasks = [asyncio.create_task(repeatedly(self._keep_up, UPKEEP_S)), asyncio.create_task(self._obey())]
        self._engine = Engine(
            provider(self._slot.provider),
            self._slot,
            self._device,
            load_settings(),
            self._tell,
            accelerator_ids=assigned_accelerators(self._device),
            rank=rank_of(context),
            reserved=reservation() if self._slot.stages > 1 else {},
        )
        self._engine.start_loading()

    async def reconfigure(self, _: Fingerprint) -> None:
        """Serve calls it when the replica starts, and again only for one whose fingerprint is the same."""

    async def lease(self, holder: str, suspect: str, node: str) -> AsyncIterator[Granted]:
        """Open as long as its holder, an ingress replica on `node`, uses the slot. The first item comes when the engine
        is ready. `suspect` is the token of an engine that has not answered the holder, if there is one.

        Raises `LoadFailed` if it cannot be, `EngineDied` when it goes away later.
        """
        released = asyncio.Event()
        self._holders[released] = holder
        try:
            running = await self._ready()
            if running.endpoint.token == suspect:
                # A dead engine's sockets are gone before its guard is.
                await asyncio.wait([running.lost], timeout=SUSPICION_S)
                running = await self._ready()
            endpoint = await self._engine.reach(running, LOOPBACK if node == self._node else self._address)
            yield Granted(self._replica, endpoint, self._slot.parallel_requests)
            await self._until_released_or_lost(released, running)
        finally:
            del self._holders[released]

    async def _ready(self) -> Running:
        try:
            return await self._engine.ensure_ready()
        except LoadFailed as failure:
            raise await self._dated(failure) from failure

    async def _dated(self, failure: LoadFailed) -> LoadFailed:
        """The failure with the time of the next try, which the board knows once it has heard of it."""
        wait_s = failure.retry_after_s
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER_WAIT_S):
                await self._mailbox.flush()
                next_try: float | None = await self._board.next_try.remote(self._slot.name)
                wait_s = wait_s if next_try is None else next_try - time.time()
        return failure.after(wait_s or 0.0)

    async def _until_released_or_lost(self, released: asyncio.Event, running: Running) -> None:
        release = asyncio.create_task(released.wait())
        ends: list[asyncio.Future[Any]] = [release, running.lost]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            release.cancel()
        if running.lost.done():
            raise running.lost.result()

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        if not self._engine.gave_up:
            self._tell(LoadReport(SlotState.UNLOADING))
        await self._engine.stop()
        self._tell(LoadReport(SlotState.OFFLINE))
        await self._mailbox.close()

    async def _keep_up(self) -> None:
        """Release the leases of ingresses that were killed; tell a board that was restarted what it has missed, and
        how much memory this node has."""
        gone = await gone_among(frozenset(self._holders.values()))
        for released, holder in self._holders.items():
            if holder in gone:
                released.set()
        if self._last_report is not None:
            self._tell(self._last_report)

    async def _obey(self) -> None:
        """Do what the board says."""
        while True:
            try:
                order = await self._board.await_order.remote(self._replica, ORDER_WAIT_S)
            except Exception:
                await asyncio.sleep(UPKEEP_S)  # the board is being restarted
                continue
            if order is Order.ABORT:
                self._tell(LoadReport(SlotState.UNLOADING))
                await self._engine.abort("it was unloaded")
            elif order is Order.SLEEP:
                await self._engine.sleep()
            elif order is Order.RELOAD:
                with contextlib.suppress(LoadFailed):
                    self._engine.start_loading()

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
                progress=None if report.progress is None else report.progress.shown(),
                load_seconds=report.load_seconds,
                error=None if report.error is None else error_record(report.error, report.error.last_lines),
                gave_up=report.gave_up,
                sleeping=report.sleeping,
                estimated=None if report.needs is None else shown_needs(report.needs),
                measured_bytes=report.measured_bytes,
                available_bytes=available_bytes(),
                further=self._further,
            )
        )


def shown_needs(needs: MemoryNeeds) -> dict[str, Any]:
    """`MemoryNeeds` as a slot's record shows it."""
    return {
        "weights_bytes": needs.weights_bytes,
        "cache_bytes": needs.cache_bytes,
        "node_bytes": needs.node_bytes,
        "device_bytes": needs.device_bytes,
    }


def rank_of(context: Any) -> int:
    """A replica's number among its deployment's, which names its log files. `context` is Serve's replica context."""
    return int(context.rank.rank) if context.rank is not None else 0


def assigned_accelerators(device: Device) -> tuple[str, ...]:
    if device not in (Device.CUDA, Device.ROCM):
        return ()
    assigned = ray.get_runtime_context().get_accelerator_ids()
    return tuple(str(index) for index in assigned.get("GPU", []))
