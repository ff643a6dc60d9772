"""Tells an ingress which replicas of a slot are running, as soon as Serve's router is told.

A replica that Serve has decided to stop leaves the router's set at once but lives until its leases are given back;
this is how their holders learn that they should be.
"""

import threading
from collections.abc import Callable

RunningListener = Callable[[frozenset[str]], None]

_lock = threading.Lock()
_listeners: dict[str, list[RunningListener]] = {}


def watch_replicas(deployment: str, listener: RunningListener) -> Callable[[], None]:
    """Call `listener` (on the router's thread) with the running replicas' ids whenever they change; undo by calling
    what is returned."""
    with _lock:
        _listeners.setdefault(deployment, []).append(listener)

    def stop() -> None:
        with _lock:
            _listeners[deployment].remove(listener)

    return stop


def replicas_running(deployment: str, running: frozenset[str]) -> None:
    """Called by the router."""
    with _lock:
        listeners = tuple(_listeners.get(deployment, ()))
    for listener in listeners:
        listener(running)
