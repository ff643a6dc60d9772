"""The board as a Serve deployment: what replicas and ingresses report to, and what the API reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from serve_app.board import Board, ReplicaNews, Traffic
from serve_app.config import parse_config


class BoardDeployment:
    """One replica. It learns that a replica or an ingress is gone when the call that it holds open is cancelled."""

    def __init__(self, args: Mapping[str, Any], devices: Mapping[str, str]) -> None:
        slots = parse_config(args).slots
        self._board = Board({slot.name: (slot, devices[slot.name]) for slot in slots}, time.time())

    async def hear(self, news: ReplicaNews) -> None:
        self._board.replica_news(news, time.time())

    async def traffic(self, ingress: str, report: dict[str, Traffic]) -> None:
        self._board.traffic_report(ingress, report, time.time())

    async def records(self) -> list[dict[str, Any]]:
        return self._board.records(time.time())

    async def attend_replica(self, slot: str, replica: str) -> AsyncIterator[bool]:
        """Held open as long as the replica lives."""
        try:
            yield True
            await asyncio.Event().wait()
        finally:
            self._board.replica_gone(slot, replica, time.time())

    async def attend_ingress(self, ingress: str) -> AsyncIterator[bool]:
        """Held open as long as the ingress lives."""
        try:
            yield True
            await asyncio.Event().wait()
        finally:
            self._board.ingress_gone(ingress, time.time())
