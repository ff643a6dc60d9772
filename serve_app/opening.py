"""An attempt to get a lease: calls to the slot until one has granted it. Lives on one event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from serve_app.errors import EngineDied
from serve_app.granted import Granted
from serve_app.lease_call import LeaseCall, OpenCall, in_our_terms

TRIES = 2
"""A replica that was killed while it loaded is replaced once before those who wait are told."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A call that has granted a lease. `items`: nothing more comes of it but its end."""

    granted: Granted
    call: LeaseCall
    items: AsyncIterator[Granted]


class Opening:
    """`done` is called with it when it has ended; `outcome` is then what it has brought."""

    def __init__(
        self, slot: str, open_call: OpenCall, suspect: Callable[[], str], done: Callable[["Opening"], None]
    ) -> None:
        self._slot, self._open_call, self._suspect = slot, open_call, suspect
        self._call: LeaseCall | None = None
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: done(self))

    @property
    def replica(self) -> str | None:
        """That it waits for; None: any that comes."""
        return None if self._call is None else self._call.replica

    @property
    def outcome(self) -> Opened | Exception | None:
        """None: it was cancelled."""
        if self.task.cancelled():
            return None
        error = self.task.exception()
        if error is None:
            return self.task.result()
        if not isinstance(error, Exception):
            raise error
        return error

    def cancel(self) -> None:
        self.task.cancel()

    async def _run(self) -> Opened:
        for tries_left in reversed(range(TRIES)):
            self._call = call = self._open_call(self._suspect())
            items = call.__aiter__()
            try:
                return Opened(await anext(items), call, items)
            except BaseException as error:
                call.cancel()
                ours = in_our_terms(self._slot, error)
                if isinstance(ours, EngineDied) and tries_left:
                    continue
                if ours is error:
                    raise
                raise ours from error
        raise AssertionError("unreachable")
