"""The way to an engine from other nodes, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from providers.base import Endpoint
from serve_app import gate as gate_module
from serve_app.gate import LARGEST_HEAD, MOST_STRANGERS, Gate
from serve_app.sleeper import Sleeper

PATIENCE_S = 20.0
HOST = "127.0.0.1"
TOKEN = "a-token-of-this-start"
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
ASK = HEAD + b"Content-Length: 2\r\n\r\n{}"


@dataclass
class Engine:
    """Echoes every byte; remembers its connections."""

    heard: bytearray = field(default_factory=bytearray)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    ended: int = 0
    echoes: bool = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.heard += data
                if self.echoes:
                    writer.write(data)
                    await writer.drain()
        self.ended += 1
        writer.close()


@dataclass
class Bench:
    engine: Engine
    gate: Gate
    endpoint: Endpoint

    async def come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = int(self.endpoint.url.rpartition(":")[2])
        return await asyncio.open_connection(HOST, port)


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, HOST, 0)
    gate = Gate(Endpoint(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", TOKEN))
    try:
        yield Bench(engine, gate, await gate.listen(HOST))
    finally:
        await gate.close()
        server.close()
        for writer in engine.connections:
            writer.transport.abort()
        await until(lambda: not gate.visitors)


def wire(writer: asyncio.StreamWriter) -> asyncio.Transport:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    return transport


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


async def test_who_shows_the_token_is_joined_to_the_engine() -> None:
    async with opened() as bench:
        assert bench.endpoint.token == TOKEN and await bench.gate.listen(HOST) == bench.endpoint
        reader, writer = await bench.come()
        # In pieces, as a network may deliver them.
        for piece in (ASK[:20], ASK[20:100], ASK[100:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        assert await reader.readexactly(len(ASK)) == ASK
        writer.write(b"and more, which is looked at by nobody")
        assert await reader.readexactly(38) == b"and more, which is looked at by nobody"
        writer.close()
        await until(lambda: bench.engine.ended == 1)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: engine\r\n",
        HEAD.replace(TOKEN.encode(), b"another-token"),
        HEAD.replace(b"Bearer", b"Basic"),
        HEAD.replace(TOKEN.encode(), TOKEN.encode() + b"x"),
        HEAD.replace(TOKEN.encode(), TOKEN[:-1].encode()),
        HEAD + HEAD.split(b"\r\n")[2] + b"\r\n",
        HEAD.replace(b"Authorization:", b"X-Authorization:"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all",
    ],
)
async def test_who_does_not_is_refused_and_the_engine_hears_nothing(head: bytes) -> None:
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(head + b"\r\n{}\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert answer.startswith(b"HTTP/1.1 401 ") and b'"code": "invalid_api_key"' in answer
        assert not bench.engine.heard and not bench.engine.connections
        writer.close()


async def test_strangers_who_say_nothing_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "HEAD_WAIT_S", 0.05)
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
        await until(lambda: bench.gate.strangers == 0)


async def test_a_head_without_an_end_is_refused() -> None:
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * LARGEST_HEAD)
        assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_many_strangers_keep_nobody_out_for_good() -> None:
    async with opened() as bench:
        crowd = [await bench.come() for _ in range(MOST_STRANGERS)]
        await until(lambda: bench.gate.strangers == MOST_STRANGERS)
        reader, writer = await bench.come()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
        for _, stranger in crowd:
            stranger.close()
        await until(lambda: bench.gate.strangers == 0)
        reader, writer = await bench.come()
        writer.write(ASK)
        assert await reader.readexactly(len(ASK)) == ASK
        writer.close()


async def test_a_client_that_does_not_read_holds_the_engine_back() -> None:
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(ASK)
        await reader.readexactly(len(ASK))
        wire(writer).pause_reading()
        (to_client,) = bench.engine.connections
        sent, piece = 0, b"x" * 65536

        async def flood() -> None:
            nonlocal sent
            while True:
                to_client.write(piece)
                await to_client.drain()
                sent += len(piece)

        flooding = asyncio.create_task(flood())
        await stands_still(lambda: sent)
        flooding.cancel()
        wire(writer).resume_reading()
        await asyncio.wait_for(reader.readexactly(sent), PATIENCE_S)
        writer.close()


async def test_an_engine_that_does_not_read_holds_its_client_back() -> None:
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(ASK)
        await reader.readexactly(len(ASK))
        bench.engine.echoes = False
        (at_engine,) = bench.engine.connections
        wire(at_engine).pause_reading()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        flooding = asyncio.create_task(flood())
        await stands_still(lambda: sent)
        wire(at_engine).resume_reading()
        before = sent
        await until(lambda: sent > before)
        flooding.cancel()
        writer.transport.abort()


async def stands_still(count: Callable[[], int]) -> None:
    """Whatever is buffered on the way is full."""
    async with asyncio.timeout(PATIENCE_S):
        before = -1
        while (now := count()) != before or not now:
            before = now
            await asyncio.sleep(0.3)


async def test_how_the_engine_ends_is_told_on() -> None:
    async with opened() as bench:
        for broken in (False, True):
            reader, writer = await bench.come()
            writer.write(ASK)
            await reader.readexactly(len(ASK))
            at_engine = bench.engine.connections[-1]
            if broken:
                at_engine.transport.abort()
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            else:
                at_engine.write(b"the rest")
                at_engine.close()
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"the rest"
            writer.close()


async def test_an_engine_that_is_not_there_breaks_the_connection() -> None:
    async with opened() as bench:
        bench.gate.engine = (HOST, 1)
        reader, writer = await bench.come()
        writer.write(ASK)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()


async def test_a_closed_gate_listens_no_more_and_cuts_off_who_is_in() -> None:
    async with opened() as bench:
        reader, writer = await bench.come()
        writer.write(ASK)
        await reader.readexactly(len(ASK))
        await bench.gate.close()
        await bench.gate.close()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        with pytest.raises(OSError):
            await bench.come()
        with pytest.raises(OSError, match="being stopped"):
            await bench.gate.listen(HOST)
        await until(lambda: bench.engine.ended == 1)
        writer.close()


@dataclass
class Nap:
    """What a sleeper did, and two gates by which a test holds it up."""

    may_sleep: asyncio.Event = field(default_factory=asyncio.Event)
    may_wake: asyncio.Event = field(default_factory=asyncio.Event)
    told: list[bool] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)
    fails: bool = False

    def of(self, gate: Gate) -> Sleeper:
        async def condemn(reason: str) -> None:
            self.condemned.append(reason)
            await gate.close()

        return Sleeper(gate, self._sleep, self._wake, self.told.append, condemn)

    async def _sleep(self) -> None:
        await self.may_sleep.wait()

    async def _wake(self) -> None:
        await self.may_wake.wait()
        if self.fails:
            raise RuntimeError("out of memory")


async def test_a_sleeping_engine_hears_of_a_request_when_it_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.sleeper.QUIET_S", 0.0)
    async with opened() as bench:
        nap = Nap()
        sleeper = nap.of(bench.gate)
        reader, writer = await bench.come()
        writer.write(ASK)
        await reader.readexactly(len(ASK))
        falling = asyncio.create_task(sleeper.fall_asleep())
        await until(lambda: bench.gate.is_shut)
        # One comes on an open connection while it is falling asleep, one on a new connection.
        writer.write(b"again")
        other_reader, other_writer = await bench.come()
        other_writer.write(ASK)
        await until(lambda: len(bench.gate.visitors) == 2 and len(bench.engine.connections) == 2)
        nap.may_sleep.set()
        await falling
        assert nap.told == [True] and bytes(bench.engine.heard) == ASK
        nap.may_wake.set()
        assert await reader.readexactly(5) == b"again"
        assert await other_reader.readexactly(len(ASK)) == ASK
        assert nap.told == [True, False] and not nap.condemned
        sleeper.close()
        writer.close()
        other_writer.close()


async def test_an_engine_that_has_just_been_asked_stays_awake() -> None:
    async with opened() as bench:
        nap = Nap()
        nap.may_sleep.set()
        reader, writer = await bench.come()
        writer.write(ASK)
        await reader.readexactly(len(ASK))
        await nap.of(bench.gate).fall_asleep()
        assert nap.told == [] and not bench.gate.is_shut
        writer.close()


async def test_an_engine_that_does_not_wake_up_is_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.sleeper.QUIET_S", 0.0)
    async with opened() as bench:
        nap = Nap(fails=True)
        nap.may_sleep.set()
        nap.may_wake.set()
        await nap.of(bench.gate).fall_asleep()
        reader, writer = await bench.come()
        writer.write(ASK)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        assert nap.condemned == ["it did not wake up: out of memory"] and not bench.engine.heard
        writer.close()
