"""The board as a Serve deployment: what replicas and ingresses report to, and what the API and the policy read."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from providers.devices import Device
from providers.pulling import ModelUnavailable
from serve_app.background import repeatedly
from serve_app.board import Board
from serve_app.bulletin import Bulletin, Sightings
from serve_app.config import parse_config
from serve_app.errors import LoadFailed
from serve_app.events import Batch
from serve_app.fleet import NodeSeen
from serve_app.homes import ROUNDS_S, Lookout, Rounds
from serve_app.lifecycle import SlotState
from serve_app.liveness import gone_among
from serve_app.logs import log_to
from serve_app.models import ModelStore
from serve_app.news import JsonRecord, ReplicaNews, Traffic, error_record
from serve_app.nodes import alive_nodes, declared
from serve_app.orders import Order, OrderBook
from serve_app.placement import advice_if_unplaceable, claim_of, fits
from serve_app.progress import Progress
from serve_app.pulls import Pulls
from serve_app.settings import load_settings
from serve_app.warm_workers import WarmWorkers

logger = logging.getLogger("hal0.board")

ROLL_CALL_S = 1.0
POST_S = 0.02
"""At most so often the policy is told what has changed."""
REPOST_S = 1.0
"""At least so often it is told that the board lives."""
KEEP_WARM_S = 5.0
READ_S = 0.1
"""How often the policy's verdict is read while somebody waits."""


class BoardDeployment:
    """One replica. Who was killed cannot sign off, so it looks after them itself."""

    def __init__(self, args: Mapping[str, Any], devices: Mapping[str, str]) -> None:
        config = parse_config(args)
        slots = config.slots
        claims = {slot.name: claim_of(slot, Device(devices[slot.name])) for slot in slots}
        self._claims = {slot.name: (claims[slot.name], slot.stages) for slot in slots}
        self._bulletin = Bulletin(serve.get_replica_context().app_name)
        known = {slot.name: (slot, devices[slot.name], claims[slot.name]) for slot in slots}
        self._board = Board(known, time.time(), self._bulletin.pins())
        self._orders = OrderBook()
        self._node = ray.get_runtime_context().get_node_id()
        self._only_here: set[str] = set()
        """Slots that no other node could hold."""
        self._store = ModelStore(load_settings().models_dir)
        self._pulls = Pulls(self._store, self)
        self._telling: set[asyncio.Task[None]] = set()
        self._news, self._told = asyncio.Condition(), self._board.events.cursor
        self._changed, self._asked = asyncio.Event(), asyncio.Event()
        log_to(load_settings().logs_dir, "board")
        self._rounds, self._lookout = Rounds(), Lookout(args["slots"])
        self._warm_workers = WarmWorkers(config.scheduling.warm_workers)
        self._taken = asyncio.Event()
        """Whether a worker has become a replica."""
        self._loaded: set[str] = set()
        """Replicas whose first load was told of: they repeat what they tell."""
        jobs = (
            *(repeatedly(self._call_the_roll, ROLL_CALL_S), repeatedly(self._keep_warm, 0)),
            *(self._post(), self._read_verdicts(), repeatedly(self._look_around, ROUNDS_S)),
        )
        self._tasks = [asyncio.create_task(job) for job in jobs]
        self._check_placement(alive_nodes(), time.time())

    def pull_progress(self, slot: str, progress: Progress) -> None:
        self._board.pull_progress(slot, progress.shown(), time.time())
        self._wake()

    def pull_ended(self, slot: str, failure: ModelUnavailable | None) -> None:
        error = None if failure is None else error_record(LoadFailed(slot, failure.code, failure.message))
        self._board.pull_ended(slot, error, time.time())
        self._wake()

    async def hear(self, news: ReplicaNews) -> None:
        self._board.replica_news(news, time.time())
        if news.state is SlotState.OFFLINE:
            self._loaded.discard(news.replica)
            self._orders.dismiss(news.replica)
        elif news.state is SlotState.READY and news.replica not in self._loaded:
            self._loaded.add(news.replica)
            self._warm_workers.taken(news.node)
            self._taken.set()
        await self._tell()

    async def next_try(self, slot: str) -> float | None:
        """When a slot that has failed may be tried again, in Unix seconds."""
        record = self._board.record(slot) or {}
        error = record.get("last_error") or {}
        value: float | None = error.get("next_try")
        return value

    async def traffic(self, ingress: str, report: dict[str, Traffic]) -> None:
        self._board.traffic_report(ingress, report, time.time())
        await self._tell()

    async def records(self) -> list[JsonRecord]:
        return self._board.records(time.time())

    async def events_after(self, cursor: str | None, wait_s: float) -> Batch:
        """Events newer than `cursor`; waits for one, but not for longer than `wait_s`."""
        deadline = time.monotonic() + wait_s
        async with self._news:
            while True:
                batch = self._board.batch(cursor)
                left = deadline - time.monotonic()
                if batch.events or left <= 0:
                    return batch
                try:
                    await asyncio.wait_for(self._news.wait(), left)
                except TimeoutError:
                    continue

    async def await_order(self, replica: str, wait_s: float) -> Order | None:
        """The next thing that this replica is to do."""
        return await self._orders.next_for(replica, wait_s)

    async def load(self, slot: str) -> JsonRecord:
        record = self._board.load(slot, time.time())
        await self._tell()
        return record

    async def want(self, slot: str) -> None:
        self._board.want(slot)
        await self._tell()

    async def unload(self, slot: str, force: bool) -> JsonRecord:
        """A slot that is loading stops that; requests in flight end only by `force`."""
        loading = not force and self._board.loading(slot)
        self._pulls.cancel(slot)
        record = self._board.unload(slot, time.time())
        if force or loading:
            for replica in self._board.replicas(slot):
                self._orders.give(replica, Order.ABORT)
        await self._tell()
        return record

    async def pin(self, slot: str, pinned: bool) -> JsonRecord:
        record = self._board.pin(slot, pinned, time.time())
        self._bulletin.post_pins(self._board.pins())
        await self._tell()
        return record

    async def _tell(self) -> None:
        self._pull_ahead()
        self._changed.set()
        self._asked.set()
        # Most reports are no event, and each follower that is woken costs some.
        if (cursor := self._board.events.cursor) != self._told:
            self._told = cursor
            async with self._news:
                self._news.notify_all()

    def _wake(self) -> None:
        """`_tell` for those who cannot await."""
        task = asyncio.create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _pull_ahead(self) -> None:
        """Where a slot can only live on this node, its model is brought here before it takes anybody's place."""
        now = time.time()
        for slot in self._board.to_load(now):
            if slot.name in self._only_here and not self._store.present(slot):
                self._board.pull_began(slot.name, now)
                self._pulls.begin(slot)

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._pulls.close()

    async def _keep_warm(self) -> None:
        """Once a load is over, so that it has the machine to itself, and now and then."""
        await self._warm_workers.keep()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._taken.wait(), KEEP_WARM_S)
        self._taken.clear()

    async def _call_the_roll(self) -> None:
        now = time.time()
        self._board.tick(now)
        for replica in await gone_among(self._board.reporters()):
            self._board.reporter_gone(replica, now)
            self._orders.forget(replica)
            self._loaded.discard(replica)
        for replica in self._board.to_revive():
            self._orders.give(replica, Order.RELOAD)
        for replica in self._board.to_put_to_sleep():
            self._orders.give(replica, Order.SLEEP)
        nodes = await asyncio.to_thread(alive_nodes)
        self._check_placement(nodes, now)
        self._board.nodes_live(nodes)
        await self._tell()

    async def _look_around(self) -> None:
        """Which node has which models."""
        if due := self._rounds.due(await asyncio.to_thread(alive_nodes), time.monotonic()):
            for node, slots in (await self._lookout.look(due)).items():
                self._board.files_found(node, slots)
            self._changed.set()

    def _check_placement(self, nodes: Mapping[str, NodeSeen], now: float) -> None:
        for slot, (claim, stages) in self._claims.items():
            self._board.placement_checked(slot, advice_if_unplaceable(claim, declared(nodes), stages), now)
            if {name for name, node in nodes.items() if fits(claim, node.total)} == {self._node}:
                self._only_here.add(slot)
            else:
                self._only_here.discard(slot)

    async def _post(self) -> None:
        """Leave word for the policy."""
        board, number = f"{time.time():.3f}", 0
        while True:
            number += 1
            notice = Sightings(board, number, self._board.sightings(), self._board.available_gib())
            try:
                await asyncio.to_thread(self._bulletin.post_sightings, notice)
            except Exception as error:
                logger.warning("the policy could not be told: %s", error)
            await asyncio.sleep(POST_S)
            try:
                await asyncio.wait_for(self._changed.wait(), REPOST_S - POST_S)
            except TimeoutError:
                continue
            self._changed.clear()

    async def _read_verdicts(self) -> None:
        """What the policy answers."""
        while True:
            try:
                verdict = await asyncio.to_thread(self._bulletin.verdict)
            except Exception as error:
                logger.warning("the policy's verdict could not be read: %s", error)
                verdict = None
            if verdict is not None:
                before = self._board.events.cursor
                self._board.decided(verdict.waits, verdict.yielding, time.time())
                if self._board.events.cursor != before:
                    await self._tell()
            if self._board.somebody_waits:
                await asyncio.sleep(READ_S)
                continue
            self._asked.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), REPOST_S)
