"""What the board has replicas do. Serve cannot call each replica of a deployment, so each asks for its orders."""

import asyncio
from enum import StrEnum


class Order(StrEnum):
    ABORT = "abort"  # stop the load or the engine now
    SLEEP = "sleep"  # the slot is idle: give up the device's memory until somebody asks
    RELOAD = "reload"  # the engine died: start it anew without waiting for a request


class OrderBook:
    """One queue for each replica that asks. An order that waits already is not given twice."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Queue[Order | None]] = {}
        self._given: dict[str, set[Order]] = {}

    def give(self, replica: str, order: Order) -> None:
        given = self._given.setdefault(replica, set())
        if order not in given:
            given.add(order)
            self._queue(replica).put_nowait(order)

    async def next_for(self, replica: str, wait_s: float) -> Order | None:
        """None if there is none within `wait_s`, or if the replica is dismissed."""
        try:
            async with asyncio.timeout(wait_s):
                order = await self._queue(replica).get()
        except TimeoutError:
            return None
        if order is not None:
            self._given.get(replica, set()).discard(order)
        return order

    def dismiss(self, replica: str) -> None:
        """It leaves: its call that waits is answered now. An answer to one that is gone would block Ray, and with it
        all that the board does, for a second."""
        self._queue(replica).put_nowait(None)

    def forget(self, replica: str) -> None:
        self._waiting.pop(replica, None)
        self._given.pop(replica, None)

    def _queue(self, replica: str) -> "asyncio.Queue[Order | None]":
        return self._waiting.setdefault(replica, asyncio.Queue())
