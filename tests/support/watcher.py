"""A client of `/api/slots/events`, reading in a thread of its own."""

import contextlib
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any, Self

from tests.support.server import Server, eventually

Event = dict[str, Any]


class Watcher:
    """Collects events from when it is entered. `last_id` of another one continues its stream."""

    def __init__(self, server: Server, last_id: str | None = None) -> None:
        self.events: list[Event] = []
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        self._request = urllib.request.Request(f"{server.url}/api/slots/events", headers=headers)
        self._thread = threading.Thread(target=self._read, name="watcher")

    def __enter__(self) -> Self:
        self._response = urllib.request.urlopen(self._request, timeout=60)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would wait for the reader's lock.
        with contextlib.suppress(OSError):
            self._response.fp.raw._sock.shutdown(2)
        self._thread.join()
        self._response.close()

    @property
    def last_id(self) -> str:
        return str(self.events[-1]["id"])

    def of(self, slot: str) -> list[Event]:
        return [event for event in self.events if event["name"] == slot]

    def moves(self, slot: str) -> list[str]:
        """The slot's states in order, without repetitions."""
        states = [event["state"] for event in self.of(slot)]
        return [state for at, state in enumerate(states) if at == 0 or states[at - 1] != state]

    def wait_for(self, what: str, probe: Callable[[Event], bool], timeout_s: float = 60.0) -> None:
        eventually(f"an event: {what}", lambda: any(map(probe, tuple(self.events))), timeout_s)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._response:
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line.removeprefix(b"data: ")))
