"""The board as a Serve deployment: what replicas and ingresses report to, and what the API reads."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from serve_app.board import Board, ReplicaNews, Traffic
from serve_app.config import parse_config
from serve_app.liveness import gone_among

ROLL_CALL_S = 1.0


class BoardDeployment:
    """One replica. Who was killed cannot sign off, so it looks after them itself."""

    def __init__(self, args: Mapping[str, Any], devices: Mapping[str, str]) -> None:
        slots = parse_config(args).slots
        self._board = Board({slot.name: (slot, devices[slot.name]) for slot in slots}, time.time())
        self._roll_call = asyncio.create_task(self._call_the_roll())

    async def hear(self, news: ReplicaNews) -> None:
        self._board.replica_news(news, time.time())

    async def traffic(self, ingress: str, report: dict[str, Traffic]) -> None:
        self._board.traffic_report(ingress, report, time.time())

    async def records(self) -> list[dict[str, Any]]:
        return self._board.records(time.time())

    async def _call_the_roll(self) -> None:
        while True:
            await asyncio.sleep(ROLL_CALL_S)
            now = time.time()
            self._board.tick(now)
            for replica in await gone_among(self._board.reporters()):
                self._board.reporter_gone(replica, now)
