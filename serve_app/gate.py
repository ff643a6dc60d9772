"""The way to an engine from other nodes: on the node's address it lets through who shows the engine's token.

Engines listen on loopback alone. None of them could do without this: vLLM asks for its key only below /v1, FLM for none
at all, and what checks one in C++ reads a stranger's bytes first. A connection is looked at until the end of its first
head; from then on it is bytes in and bytes out, since who has shown the token once need not show it again.
"""

import asyncio
import hmac
import json
import time
from collections.abc import Callable

from providers.base import Endpoint
from serve_app.silence import give_up_on_silence

HEAD_WAIT_S = 10.0
"""For a connection to show its token."""
LARGEST_HEAD = 64 * 1024
MOST_STRANGERS = 256
"""Connections at once that have not shown it yet."""
END_OF_HEAD = b"\r\n\r\n"
AUTHORIZATION = b"authorization:"
ENVELOPE = {
    "error": {
        "message": "A valid bearer token is needed.",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }
}


def _refusal() -> bytes:
    body = json.dumps(ENVELOPE).encode()
    lines = (b"HTTP/1.1 401 Unauthorized", b"Content-Type: application/json", b"Connection: close")
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


REFUSAL = _refusal()


class Gate:
    """To one engine, on the event loop that opens it. Shut, it keeps what clients send until it is opened again.

    `knocked` is called when something comes while it is shut.
    """

    def __init__(self, engine: Endpoint, knocked: Callable[[], None] = lambda: None) -> None:
        host, _, port = engine.url.removeprefix("http://").rpartition(":")
        self.engine = (host.strip("[]"), int(port))
        self.knocked = knocked
        self.visitors: set[Visitor] = set()
        self.strangers = 0
        self.heard_at = float("-inf")
        """On the monotonic clock: when a client last sent something."""
        self._token = engine.token
        self._expected = f"Bearer {engine.token}".encode()
        self._servers: dict[str, tuple[asyncio.Server, Endpoint]] = {}
        self._listening = asyncio.Lock()
        self._is_shut = self._closed = False

    async def listen(self, host: str) -> Endpoint:
        """Where it answers on this address of the node, the first time from now on. Raises OSError."""
        async with self._listening:
            if host not in self._servers and not self._closed:
                server = await asyncio.get_running_loop().create_server(lambda: Visitor(self), host, 0)
                port = server.sockets[0].getsockname()[1]
                shown = f"[{host}]" if ":" in host else host
                self._servers[host] = (server, Endpoint(f"http://{shown}:{port}", self._token))
            if self._closed:
                raise OSError("the engine is being stopped")
            return self._servers[host][1]

    @property
    def is_shut(self) -> bool:
        return self._is_shut

    def shut(self, quiet_s: float) -> bool:
        """From now on nothing gets through. Not, and False, if a client has sent something within `quiet_s`."""
        if time.monotonic() - self.heard_at < quiet_s:
            return False
        self._is_shut = True
        return True

    def open(self) -> None:
        self._is_shut = False
        for visitor in tuple(self.visitors):
            visitor.let_in()

    async def close(self) -> None:
        """Nobody is let in any more, and who is in is cut off. May be called again."""
        self._closed = True
        async with self._listening:
            servers, self._servers = self._servers, {}
        for server, _ in servers.values():
            server.close()
        for visitor in tuple(self.visitors):
            visitor.abort()

    def admits(self, head: bytes) -> bool:
        """Whether a request's head has the token."""
        shown = [line[len(AUTHORIZATION) :] for line in head.split(b"\r\n") if _names_authorization(line)]
        return len(shown) == 1 and hmac.compare_digest(shown[0].strip(), self._expected)


def _names_authorization(line: bytes) -> bool:
    return line[: len(AUTHORIZATION)].lower() == AUTHORIZATION


class Visitor(asyncio.Protocol):
    """A connection from outside. Its head is read, then it is joined to one of its own to the engine."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._head = bytearray()
        self._held: list[bytes] = []
        """What has come and may not be passed on yet."""
        self._stranger = self._gone = False
        self._engine: EngineSide | None = None
        self._joining: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        gate = self._gate
        gate.visitors.add(self)
        gate.strangers += 1
        self._stranger = True
        if gate.strangers > MOST_STRANGERS:
            return self.abort()
        give_up_on_silence(transport)
        self._deadline = asyncio.get_running_loop().call_later(HEAD_WAIT_S, self.abort)

    def data_received(self, data: bytes) -> None:
        self._gate.heard_at = time.monotonic()
        if self._stranger:
            return self._look_at(data)
        if self._gate.is_shut or self._engine is None:
            self._hold(data)
        else:
            self._engine.transport.write(data)

    def _look_at(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head += data
        end = self._head.find(END_OF_HEAD)
        if end < 0 and len(self._head) <= LARGEST_HEAD:
            return
        if end < 0 or not self._gate.admits(bytes(self._head[:end])):
            self.transport.write(REFUSAL)
            return self.transport.close()
        self._known()
        self._hold(bytes(self._head))
        self._head.clear()
        self._joining = asyncio.create_task(self._join())

    def _known(self) -> None:
        if self._stranger:
            self._stranger = False
            self._gate.strangers -= 1
        if self._deadline is not None:
            self._deadline.cancel()

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        _pause(self.transport)
        if self._gate.is_shut:
            self._gate.knocked()

    async def _join(self) -> None:
        try:
            _, engine = await asyncio.get_running_loop().create_connection(lambda: EngineSide(self), *self._gate.engine)
        except OSError:
            return self.abort()
        if self._gone:
            return engine.transport.abort()
        self._engine = engine
        self.let_in()

    def let_in(self) -> None:
        """Pass on what was held, unless it must be held still."""
        if self._gate.is_shut or self._engine is None or self._gone or self._stranger:
            return
        for data in self._held:
            self._engine.transport.write(data)
        self._held.clear()
        if not self._engine.is_full:
            _resume(self.transport)

    def pause_writing(self) -> None:
        if self._engine is not None:
            _pause(self._engine.transport)

    def resume_writing(self) -> None:
        if self._engine is not None:
            _resume(self._engine.transport)

    def abort(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The engine sees its client leave, and stops computing."""
        self._gone = True
        self._known()
        self._gate.visitors.discard(self)
        if self._joining is not None:
            self._joining.cancel()
        if self._engine is not None:
            self._engine.transport.abort()


class EngineSide(asyncio.Protocol):
    """A visitor's connection to the engine."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self.is_full = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._visitor.transport.write(data)

    def pause_writing(self) -> None:
        self.is_full = True
        _pause(self._visitor.transport)

    def resume_writing(self) -> None:
        self.is_full = False
        self._visitor.let_in()

    def connection_lost(self, exc: Exception | None) -> None:
        """How it ended is told on: an answer may end with its connection, and a broken one is no end."""
        if exc is None:
            self._visitor.transport.close()
        else:
            self._visitor.abort()


def _pause(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.pause_reading()


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
