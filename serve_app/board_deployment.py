"""The board as a Serve deployment: what replicas and ingresses report to, and what the API reads."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from providers.devices import Device
from serve_app.board import Board, ReplicaNews, Traffic
from serve_app.config import parse_config
from serve_app.liveness import gone_among
from serve_app.logs import log_to
from serve_app.nodes import NodeView
from serve_app.placement import advice_if_unplaceable, claim_of
from serve_app.settings import load_settings

ROLL_CALL_S = 1.0


class BoardDeployment:
    """One replica. Who was killed cannot sign off, so it looks after them itself."""

    def __init__(self, args: Mapping[str, Any], devices: Mapping[str, str]) -> None:
        slots = parse_config(args).slots
        self._claims = {slot.name: claim_of(slot, Device(devices[slot.name])) for slot in slots}
        self._nodes = NodeView()
        self._board = Board({slot.name: (slot, devices[slot.name]) for slot in slots}, time.time())
        log_to(load_settings().logs_dir, "board")
        self._roll_call = asyncio.create_task(self._call_the_roll())

    async def hear(self, news: ReplicaNews) -> None:
        self._board.replica_news(news, time.time())

    async def traffic(self, ingress: str, report: dict[str, Traffic]) -> None:
        self._board.traffic_report(ingress, report, time.time())

    async def records(self) -> list[dict[str, Any]]:
        return self._board.records(time.time())

    async def _call_the_roll(self) -> None:
        while True:
            now = time.time()
            self._board.tick(now)
            for replica in await gone_among(self._board.reporters()):
                self._board.reporter_gone(replica, now)
            nodes = await self._nodes.nodes()
            for slot, claim in self._claims.items():
                self._board.placement_checked(slot, advice_if_unplaceable(claim, nodes), now)
            await asyncio.sleep(ROLL_CALL_S)
