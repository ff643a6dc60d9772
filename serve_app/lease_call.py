"""The call by which an ingress gets and keeps a lease: a streaming call of `SlotDeployment.lease`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from serve_app import replica_watch
from serve_app.errors import EngineDied, LoadFailed, ServingError
from serve_app.granted import Granted

_numbers = itertools.count()


class LeaseCall(Protocol):
    """Its first item is the lease. It ends with an exception: the holder's own for giving it back, or the slot's."""

    @property
    def replica(self) -> str | None:
        """Where Serve has sent it; None: nowhere yet."""

    def __aiter__(self) -> AsyncIterator[Granted]: ...

    def let_go(self) -> None:
        """Its replica may be asked for another lease, although requests on this one may still be running."""

    def cancel(self) -> None: ...


OpenCall = Callable[[str], LeaseCall]
"""Its argument is the token of an engine that has not answered, if there is one."""


class RoutedCall:
    """Sent where `WatchedRouter` chooses, who knows it by its session id. `handle` is Serve's, for streams."""

    def __init__(self, deployment: str, handle: Any, *args: str) -> None:
        self._deployment, self._name = deployment, f"lease-{next(_numbers)}"
        replica_watch.call_opened(deployment, self._name)
        self._response = handle.options(session_id=self._name).lease.remote(*args)

    @property
    def replica(self) -> str | None:
        return replica_watch.asked_by(self._deployment, self._name)

    def __aiter__(self) -> AsyncIterator[Granted]:
        items: AsyncIterator[Granted] = self._response.__aiter__()
        return items

    def let_go(self) -> None:
        replica_watch.let_go(self._deployment, self._name)

    def cancel(self) -> None:
        self.let_go()
        self._response.cancel()


def in_our_terms(slot: str, error: BaseException) -> BaseException:
    """A Serve or Ray error as one that a client understands."""
    # Ray's own class for a remote error passes for the original's, but has not its attributes.
    for candidate in (getattr(error, "cause", None), error):
        if isinstance(candidate, ServingError):
            return candidate
    if isinstance(error, StopAsyncIteration):
        return EngineDied(slot, "it ended without an answer")
    if not isinstance(error, Exception | asyncio.CancelledError) or _is_being_cancelled():
        return error
    name = type(error).__name__
    if "Unavailable" in name or "ActorDied" in name or "Cancelled" in name:
        return EngineDied(slot, f"its replica went away ({name})")
    return LoadFailed(slot, "load_failed", f"{name}: {error}")


def _is_being_cancelled() -> bool:
    """A call that was cancelled on the other side raises the same in a task that was not."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
