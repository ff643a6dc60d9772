"""Where the board and the policy leave each other word: a few keys in Ray's own key-value store.

The policy runs inside Serve's controller, which no replica can call, and Serve's metrics of a deployment are averages
that come late. One look costs some tenths of a millisecond. API: ray.experimental.internal_kv.
"""

import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.fleet import SlotSeen, Wait

NAMESPACE = b"hal0"
STALE_S = 5.0


@dataclass(frozen=True, slots=True)
class Sightings:
    """What the board has seen. `number` grows, so that an old notice is told from a new one."""

    board: str
    number: int
    slots: Mapping[str, SlotSeen]
    available_gib: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy has decided beyond the numbers of replicas."""

    waits: Mapping[str, Wait]
    yielding: frozenset[str]


class Bulletin:
    """The notices of one application. Blocks for as long as a look at Ray's control store takes."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._last: bytes | None = None
        self._last_change = 0.0

    def post_sightings(self, sightings: Sightings) -> None:
        self._put("sightings", sightings)

    def sightings(self) -> Sightings | None:
        """None if the board has not written for five seconds."""
        raw = self._get("sightings")
        now = time.monotonic()
        if raw != self._last:
            self._last, self._last_change = raw, now
        if raw is None or now - self._last_change > STALE_S:
            return None
        notice: Sightings = pickle.loads(raw)
        return notice

    def post_verdict(self, verdict: Verdict) -> None:
        self._put("verdict", verdict)

    def verdict(self) -> Verdict | None:
        raw = self._get("verdict")
        return None if raw is None else pickle.loads(raw)

    def post_pins(self, pins: Mapping[str, bool]) -> None:
        self._put("pins", dict(pins))

    def pins(self) -> dict[str, bool]:
        """What people have pinned and unpinned; outlives the board."""
        raw = self._get("pins")
        return {} if raw is None else pickle.loads(raw)

    def _put(self, key: str, value: object) -> None:
        kv: Any = _kv()
        kv._internal_kv_put(self._key(key), pickle.dumps(value), namespace=NAMESPACE)

    def _get(self, key: str) -> bytes | None:
        kv: Any = _kv()
        value: bytes | None = kv._internal_kv_get(self._key(key), namespace=NAMESPACE)
        return value

    def _key(self, key: str) -> bytes:
        return f"{self._application}/{key}".encode()


def _kv() -> Any:
    from ray.experimental import internal_kv

    return internal_kv
