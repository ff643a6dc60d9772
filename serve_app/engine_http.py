"""The ingress's HTTP client for engines: pooled connections, bytes in and bytes out.

Its own, because the client is what a short request costs most: some 140 us of CPU with aiohttp or pyreqwest, 2,100 with
httpx, 22 with this, beside 35 for the HTTP server (docs/performance.md). The parser is httptools', as in uvicorn.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from functools import lru_cache

from serve_app.engine_connection import ConnectionBroken, EngineConnection
from serve_app.silence import give_up_on_silence

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 3.0
"""Below the 5 s after which llama.cpp's HTTP server closes an idle connection, so that we never send into a close."""

Address = tuple[str, int]


class EngineResponse:
    """Its head has come. Goes back by `release`, read to its end or not."""

    def __init__(self, connection: EngineConnection, owner: "EngineHttp") -> None:
        self._connection, self._owner = connection, owner
        self.status = connection.status
        self.content_type = connection.content_type

    async def read(self) -> bytes:
        """All of the body. Raises `ConnectionBroken`."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `ConnectionBroken` if it ends too early."""
        while piece := await self._connection.next_piece():
            yield piece

    def release(self) -> None:
        """One that was not read to its end is closed: that tells the engine at once that nobody reads it."""
        self._owner.put_back(self._connection)


class EngineHttp:
    """Lives on one event loop. An idle connection is used again for `keepalive_s`."""

    def __init__(self, keepalive_s: float = KEEPALIVE_S, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._keepalive_s, self._connect_timeout_s = keepalive_s, connect_timeout_s
        self._idle: dict[Address, deque[EngineConnection]] = {}
        self._loop = asyncio.get_running_loop()

    async def request(self, method: str, url: str, token: str, body: bytes, last: bool = False) -> EngineResponse:
        """The answer's head. `last`: the connection is not to be used again. Raises `ConnectionBroken` if no answer
        comes, be it that the engine cannot be reached."""
        address, head = request_head(method, url, token, last)
        data = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        connection = self._idle_one(address)
        if connection is not None:
            try:
                return await self._asked(connection, data, last)
            except ConnectionBroken:
                # The engine closed it while it was idle, just as the request was on its way.
                if connection.heard:
                    raise
        return await self._asked(await self._connect(address), data, last)

    def put_back(self, connection: EngineConnection) -> None:
        if not connection.reusable:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.address, deque()).append(connection)

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _asked(self, connection: EngineConnection, data: bytes, last: bool) -> EngineResponse:
        try:
            await connection.ask(data, last)
        except BaseException:
            connection.abort()
            raise
        return EngineResponse(connection, self)

    async def _connect(self, address: Address) -> EngineConnection:
        self._forget_the_dead()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, connection = await self._loop.create_connection(lambda: EngineConnection(address), *address)
        except TimeoutError as error:
            raise ConnectionBroken(f"no connection within {self._connect_timeout_s:g} s") from error
        except OSError as error:
            raise ConnectionBroken(f"it cannot be reached: {error}") from error
        give_up_on_silence(transport)
        return connection

    def _forget_the_dead(self) -> None:
        """Engines that are gone: the next one has another port, and nobody would ask for theirs again."""
        for address, connections in tuple(self._idle.items()):
            if all(connection.closed for connection in connections):
                del self._idle[address]

    def _idle_one(self, address: Address) -> EngineConnection | None:
        """The one that was used last: those that have waited longest are the first to be too old."""
        connections = self._idle.get(address)
        if connections is None:
            return None
        freshest = self._loop.time() - self._keepalive_s
        while connections and (connections[0].closed or connections[0].idle_since < freshest):
            connections.popleft().abort()
        while connections:
            if not (connection := connections.pop()).closed:
                return connection
        del self._idle[address]
        return None


@lru_cache(maxsize=1024)
def request_head(method: str, url: str, token: str, last: bool) -> tuple[Address, bytes]:
    """Where to send it, and all of the head but the body's length. `url` is http://host:port/path, without a query."""
    authority, _, path = url.removeprefix("http://").partition("/")
    host, _, port = authority.rpartition(":")
    lines = [
        f"{method} /{path} HTTP/1.1",
        f"Host: {authority}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        *(["Connection: close"] if last else []),
    ]
    return (host.strip("[]"), int(port)), "".join(f"{line}\r\n" for line in lines).encode("latin-1")
