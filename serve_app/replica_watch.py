"""What an ingress and Serve's routers in its process know of a slot's replicas, each from the other.

The routers tell which replicas are running: one that Serve has decided to stop leaves that set at once but lives until
its leases are given back, and this is how their holders learn that they should be. The ingress tells which replicas it
has asked for a lease already, so that a further one comes from another. Routers run on a thread of their own.
"""

import threading
from collections.abc import Callable

RunningListener = Callable[[frozenset[str]], None]

_lock = threading.Lock()
_listeners: dict[str, list[RunningListener]] = {}
_running: dict[str, frozenset[str]] = {}
_asked: dict[str, dict[str, str | None]] = {}
"""For each deployment the calls that ask for a lease or hold one, and the replicas to which they were sent."""


def watch_replicas(deployment: str, listener: RunningListener) -> Callable[[], None]:
    """Call `listener` with the running replicas' ids, now if they are known and whenever they change (then on the
    router's thread); undo by calling what is returned."""
    with _lock:
        _listeners.setdefault(deployment, []).append(listener)
        running = _running.get(deployment)
    if running is not None:
        listener(running)

    def stop() -> None:
        with _lock:
            _listeners[deployment].remove(listener)

    return stop


def replicas_running(deployment: str, running: frozenset[str]) -> None:
    """Called by the router."""
    with _lock:
        _running[deployment] = running
        listeners = tuple(_listeners.get(deployment, ()))
    for listener in listeners:
        listener(running)


def call_opened(deployment: str, call: str) -> None:
    """Until `let_go`."""
    with _lock:
        _asked.setdefault(deployment, {})[call] = None


def replica_asked(deployment: str, call: str, replica: str) -> bool:
    """Called by the router: it sends this call to this replica. False: the call is over, which it will be told soon."""
    with _lock:
        calls = _asked.get(deployment, {})
        if call not in calls:
            return False
        calls[call] = replica
        return True


def asked_by(deployment: str, call: str) -> str | None:
    """The replica to which this call was sent."""
    with _lock:
        return _asked.get(deployment, {}).get(call)


def asked_by_others(deployment: str, call: str) -> frozenset[str]:
    """The replicas to which other calls have been sent."""
    with _lock:
        others = ((other, replica) for other, replica in _asked.get(deployment, {}).items() if other != call)
        return frozenset(replica for _, replica in others if replica is not None)


def let_go(deployment: str, call: str) -> None:
    """The replica that this call has asked may be asked again: there is no lease, or it is not used any more."""
    with _lock:
        _asked.get(deployment, {}).pop(call, None)
