"""The ingress's HTTP client against sockets that speak HTTP well and badly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from serve_app.engine_connection import MOST_WAITING, ConnectionBroken
from serve_app.engine_http import EngineHttp

PATIENCE_S = 10.0
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """An engine that talks as it is told to, connection after connection."""

    def __init__(self, *talks: Talk) -> None:
        self.talks = talks
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""
        self.closed = asyncio.Event()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        return self.requests[-1]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = self.talks[min(self.connections, len(self.talks) - 1)]
        self.connections += 1
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed.set()


@asynccontextmanager
async def peer(make: Callable[["Peer"], tuple[Talk, ...]]) -> AsyncIterator[Peer]:
    one = Peer()
    one.talks = make(one)
    server = await asyncio.start_server(one.connected, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x"
    async with asyncio.timeout(PATIENCE_S):
        yield one
    server.close()


@pytest.fixture
async def engines() -> AsyncIterator[EngineHttp]:
    client = EngineHttp()
    yield client
    client.close()


def always(answer: bytes) -> Callable[[Peer], tuple[Talk, ...]]:
    def make(one: Peer) -> tuple[Talk, ...]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await one.request(reader)
                writer.write(answer)

        return (talk,)

    return make


def once(answer: bytes) -> Callable[[Peer], tuple[Talk, ...]]:
    def make(one: Peer) -> tuple[Talk, ...]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await one.request(reader)
            writer.write(answer)

        return (talk,)

    return make


async def ask(engines: EngineHttp, url: str, body: bytes = b"{}", last: bool = False) -> tuple[int, str, bytes]:
    answer = await engines.request("POST", url, "s3cret", body, last)
    try:
        return answer.status, answer.content_type, await answer.read()
    finally:
        answer.release()


async def test_a_request_and_its_answer(engines: EngineHttp) -> None:
    async with peer(always(JSON)) as one:
        assert await ask(engines, one.url, b'{"a": 1}') == (200, "application/json", b"{}")
        [request] = one.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in head and b"Connection" not in head
    assert body == b'{"a": 1}'


async def test_a_connection_is_used_again(engines: EngineHttp) -> None:
    async with peer(always(JSON)) as one:
        for _ in range(3):
            await ask(engines, one.url)
        assert (one.connections, len(one.requests)) == (1, 3)
        await asyncio.gather(*(ask(engines, one.url) for _ in range(4)))
        assert one.connections == 4


@pytest.mark.parametrize("answer", [JSON.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), JSON])
async def test_but_not_the_last_of_it(engines: EngineHttp, answer: bytes) -> None:
    """Whatever the engine makes of that."""
    async with peer(always(answer)) as one:
        await ask(engines, one.url, last=True)
        assert b"\r\nConnection: close\r\n" in one.requests[0]
        await ask(engines, one.url)
        assert one.connections == 2


async def test_nor_one_that_was_idle_for_too_long() -> None:
    engines = EngineHttp(keepalive_s=0.0)
    async with peer(always(JSON)) as one:
        await ask(engines, one.url)
        await asyncio.sleep(0.01)
        await ask(engines, one.url)
        assert one.connections == 2
    engines.close()


async def test_an_idle_connection_that_was_closed_is_replaced(engines: EngineHttp) -> None:
    async with peer(once(JSON)) as one:
        await ask(engines, one.url)
        await ask(engines, one.url)
        assert one.connections == 2


async def test_an_engine_that_is_gone_leaves_nothing(engines: EngineHttp) -> None:
    """The next one has another port."""
    async with peer(once(JSON)) as gone, peer(always(JSON)) as next_one:
        await asyncio.gather(*(ask(engines, gone.url) for _ in range(3)))
        await gone.closed.wait()
        while not all(connection.closed for idle in engines._idle.values() for connection in idle):
            await asyncio.sleep(0)
        await ask(engines, next_one.url)
        assert [len(idle) for idle in engines._idle.values()] == [1]


async def test_a_request_that_crosses_the_close_is_sent_again(engines: EngineHttp) -> None:
    """The engine has closed the connection, which is not known here yet."""

    def make(one: Peer) -> tuple[Talk, ...]:
        async def hangs_up_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await one.request(reader)
            writer.write(JSON)
            await one.request(reader)

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await one.request(reader)
            writer.write(JSON)

        return hangs_up_at_the_second, answers

    async with peer(make) as one:
        await ask(engines, one.url)
        assert (await ask(engines, one.url))[0] == 200
        assert (one.connections, len(one.requests)) == (2, 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        (JSON[:-1], "closed the connection"),
        (STREAM_HEAD + b"5\r\nhello\r\n", "closed the connection"),
        (STREAM_HEAD + b"zz\r\nhello\r\n", "does not speak HTTP"),
    ],
)
async def test_an_answer_that_breaks_off_is_said(engines: EngineHttp, answer: bytes, words: str) -> None:
    async with peer(once(answer)) as one:
        with pytest.raises(ConnectionBroken, match=words):
            await ask(engines, one.url)
        assert one.connections == 1, "a new connection that breaks is no reason to ask again"


async def test_nobody_there(engines: EngineHttp) -> None:
    async with peer(once(JSON)) as one:
        url = one.url
    with pytest.raises(ConnectionBroken, match="cannot be reached"):
        await ask(engines, url)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end", (200, "text/plain", b"to the end")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, "", b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + JSON, (200, "application/json", b"{}")),
        (STREAM_HEAD + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", (200, "text/event-stream", b"abc")),
        (JSON.replace(b"200 OK", b"500 No"), (500, "application/json", b"{}")),
    ],
)
async def test_all_the_ways_in_which_a_body_ends(
    engines: EngineHttp, answer: bytes, expected: tuple[int, str, bytes]
) -> None:
    async with peer(once(answer)) as one:
        assert await ask(engines, one.url) == expected


async def test_pieces_come_as_they_are_sent(engines: EngineHttp) -> None:
    go_on = asyncio.Event()

    def make(one: Peer) -> tuple[Talk, ...]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await one.request(reader)
            writer.write(STREAM_HEAD + b"5\r\nfirst\r\n")
            await go_on.wait()
            writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

        return (talk,)

    async with peer(make) as one:
        answer = await engines.request("POST", one.url, "t", b"{}")
        seen = []
        async for piece in answer.pieces():
            seen.append(piece)
            go_on.set()
        answer.release()
        assert seen == [b"first", b"second"]


async def test_who_leaves_in_the_middle_closes_the_connection(engines: EngineHttp) -> None:
    """How an engine learns that it can stop."""

    def make(one: Peer) -> tuple[Talk, ...]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await one.request(reader)
            writer.write(STREAM_HEAD + b"5\r\nfirst\r\n")
            assert await reader.read() == b""

        return (talk,)

    async with peer(make) as one:
        answer = await engines.request("POST", one.url, "t", b"{}")
        async for _ in answer.pieces():
            break
        answer.release()
        await one.closed.wait()

        one.closed.clear()
        waiting = asyncio.create_task(ask(engines, one.url))
        while len(one.requests) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        await one.closed.wait()


async def test_an_engine_waits_for_a_slow_reader(engines: EngineHttp) -> None:
    total, sent = 64 * MOST_WAITING, 0

    def make(one: Peer) -> tuple[Talk, ...]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await one.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            while sent < total:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()

        return (talk,)

    async with peer(make) as one:
        answer = await engines.request("POST", one.url, "t", b"{}")
        stuck = -1
        while stuck != sent:
            stuck = sent
            await asyncio.sleep(0.3)
        assert sent < total, "all of it was taken although nobody reads"
        assert len(await answer.read()) == total
        answer.release()
        assert answer._connection.reusable
