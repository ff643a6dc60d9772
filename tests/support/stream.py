"""A streamed chat that a test reads piece by piece, and can leave in the middle."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Protocol


class Asked(Protocol):
    """A server, or a node of a cluster."""

    @property
    def url(self) -> str: ...


class ChatStream:
    """The request is on its way once this is made."""

    def __init__(self, server: Asked, name: str, text: str = "hi", headers: Mapping[str, str] = {}) -> None:
        user = [{"role": "user", "content": text}]
        body = json.dumps({"model": name, "messages": user, "stream": True}).encode()
        request = urllib.request.Request(
            f"{server.url}/v1/chat/completions", body, {"Content-Type": "application/json", **headers}
        )
        self._response = urllib.request.urlopen(request, timeout=60)

    def read_events(self, count: int) -> None:
        seen = 0
        while seen < count:
            line = self._response.readline()
            assert line, "the stream ended"
            seen += line.startswith(b"data:")

    def rest(self) -> bytes:
        data: bytes = self._response.read()
        return data

    def leave(self) -> None:
        self._response.close()
