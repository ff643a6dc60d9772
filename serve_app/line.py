"""Requests that wait for a slot, in the order in which they will be answered. Lives on one event loop."""

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serve_app.affinity_prompt import Prompt

Prize = TypeVar("Prize")


@dataclass(slots=True, eq=False)
class Waiter(Generic[Prize]):
    """`granted` resolves to what the request waits for, or to the reason why it cannot be had."""

    priority: int
    light: bool
    prompt: Prompt | None = None
    granted: "asyncio.Future[Prize]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    since: float = field(default_factory=time.time)
    """Unix seconds."""


class Line(Generic[Prize]):
    """Light ones first, since they take nobody's place; then higher priority, then first come first served. A waiter
    that has left costs nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[bool, int, int, Waiter[Prize]]] = []
        self._waiting: dict[Waiter[Prize], None] = {}
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def since(self) -> float | None:
        """When the one that has waited longest came."""
        return next(iter(self._waiting)).since if self._waiting else None

    @property
    def priority(self) -> int | None:
        """The highest."""
        return max((waiter.priority for waiter in self._waiting), default=None)

    def join(self, priority: int, light: bool = False, prompt: Prompt | None = None) -> Waiter[Prize]:
        waiter: Waiter[Prize] = Waiter(priority, light, prompt)
        self._waiting[waiter] = None
        heapq.heappush(self._heap, (not light, -priority, next(self._arrivals), waiter))
        return waiter

    def leave(self, waiter: Waiter[Prize]) -> None:
        self._waiting.pop(waiter, None)

    def head(self) -> Waiter[Prize] | None:
        """The next one to be answered. One that was cancelled leaves the line a moment later."""
        while self._heap and not self._waits(self._heap[0][-1]):
            heapq.heappop(self._heap)
        return self._heap[0][-1] if self._heap else None

    def grant(self, waiter: Waiter[Prize], prize: Prize) -> None:
        self.leave(waiter)
        waiter.granted.set_result(prize)

    def refuse_all(self, error: Exception) -> None:
        for waiter in filter(self._waits, tuple(self._waiting)):
            self.leave(waiter)
            waiter.granted.set_exception(error)

    def _waits(self, waiter: Waiter[Prize]) -> bool:
        return waiter in self._waiting and not waiter.granted.done()
