"""The board's events as an ingress hears them: one long poll for all of its requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from serve_app.events import Batch

logger = logging.getLogger("hal0.feed")

WAIT_S = 10.0
AGAIN_S = 0.5
View = dict[str, Any]
EventsAfter = Callable[[str | None, float], Awaitable[Batch]]


class Feed:
    """Keeps each slot's last event, and hands every event to `heard`. Runs until it is cancelled."""

    def __init__(self, events_after: EventsAfter, heard: Callable[[View], None]) -> None:
        self._events_after, self._heard = events_after, heard
        self._views: dict[str, View] = {}
        self._cursor: str | None = None

    def view(self, slot: str) -> View:
        """How the slot stands, as far as is known."""
        return self._views.get(slot, {"name": slot, "state": "offline"})

    async def run(self) -> None:
        while True:
            try:
                self._take(await self._events_after(self._cursor, WAIT_S))
            except Exception as error:
                logger.info("the board does not answer: %s", error)
                await asyncio.sleep(AGAIN_S)

    def _take(self, batch: Batch) -> None:
        self._cursor = batch.cursor
        for event in batch.events:
            self._views[event["name"]] = event
            self._heard(event)
