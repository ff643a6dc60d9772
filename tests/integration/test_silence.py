"""Connections whose other end says nothing any more, as after a power cut: its kernel drops what comes (BPF)."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve_app import silence
from serve_app.engine_connection import ConnectionBroken
from serve_app.engine_http import EngineHttp
from serve_app.ingress import sound_session

PATIENCE_S = 30.0
SO_ATTACH_FILTER = 26
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""`ret #0`, a classic BPF program. Docs: https://docs.kernel.org/networking/filter.html"""


def cut_off(connection: socket.socket) -> None:
    """It hears nothing any more, and so acknowledges nothing."""
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, ctypes.addressof(DROP_ALL)))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that takes seconds takes one. Loopback passes for a network."""
    monkeypatch.setattr(silence, "PROBE_AFTER_S", 1)
    monkeypatch.setattr(silence, "PROBE_EVERY_S", 1)
    monkeypatch.setattr(silence, "PROBES", 1)
    monkeypatch.setattr(silence, "SILENT_S", 0.5)
    monkeypatch.setattr(silence, "LOOK_S", 0.1)
    monkeypatch.setattr(silence, "_is_loopback", lambda peer: False)


class Silent:
    """An HTTP engine that goes silent once it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._transports: list[asyncio.Transport] = []
        app = web.Application()
        app.router.add_post("/waits", self._waits)
        app.router.add_post("/streams", self._streams)
        app.router.add_get("/socket", self._socket)
        self._server = TestServer(app)

    async def start(self) -> str:
        await self._server.start_server()
        return str(self._server.make_url("")).rstrip("/")

    async def stop(self) -> None:
        for transport in self._transports:
            transport.abort()
        await self._server.close()

    def cut_off(self) -> None:
        for transport in self._transports:
            cut_off(transport.get_extra_info("socket"))

    def _note(self, request: web.Request) -> None:
        assert request.transport is not None
        self._transports.append(request.transport)
        self.asked.set()

    async def _waits(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self._note(request)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _streams(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Connection": "close"})
        await response.prepare(request)
        await response.write(b"one")
        self._note(request)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        self._note(request)
        async for _ in response:
            pass
        return response


@pytest.fixture
async def engine() -> AsyncIterator[Silent]:
    made = Silent()
    yield made
    await made.stop()


@contextmanager
def client() -> Iterator[EngineHttp]:
    http = EngineHttp()
    try:
        yield http
    finally:
        http.close()


async def test_a_request_to_a_machine_that_has_lost_its_power_is_given_up(engine: Silent) -> None:
    url = await engine.start()
    with client() as http:
        waiting = asyncio.create_task(http.request("POST", f"{url}/waits", "t", b"{}"))
        await asyncio.wait_for(engine.asked.wait(), PATIENCE_S)
        engine.cut_off()
        with pytest.raises(ConnectionBroken, match="TimeoutError"):
            await asyncio.wait_for(waiting, PATIENCE_S)


async def test_a_stream_from_there_is_broken_and_not_at_its_end(engine: Silent) -> None:
    url = await engine.start()
    with client() as http:
        answer = await http.request("POST", f"{url}/streams", "t", b"{}")
        await asyncio.wait_for(engine.asked.wait(), PATIENCE_S)
        engine.cut_off()
        with pytest.raises(ConnectionBroken, match="TimeoutError"):
            await asyncio.wait_for(answer.read(), PATIENCE_S)
        answer.release()


async def test_so_is_sound_that_nobody_takes(engine: Silent) -> None:
    url = await engine.start()
    async with sound_session() as http:
        session = await http.ws_connect(f"{url}/socket")
        await asyncio.wait_for(engine.asked.wait(), PATIENCE_S)
        engine.cut_off()
        await session.send_bytes(b"a piece of sound")
        message = await asyncio.wait_for(session.receive(), PATIENCE_S)
        assert message.type in (message.type.ERROR, message.type.CLOSED)
        await session.close()


async def test_who_is_well_and_reads_nothing_is_waited_for() -> None:
    """TCP_USER_TIMEOUT would end this."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as sender:
        reader, _ = listener.accept()
        with reader:
            silence.watch_for_silence(sender, lambda: False)
            sender.setblocking(False)
            loop = asyncio.get_running_loop()
            sending = asyncio.create_task(loop.sock_sendall(sender, bytes(2**24)))
            await until_probed(sender)
            assert not silence.is_silent(sender) and not sending.done()
            reader.setblocking(False)
            left = 2**24
            while left:
                left -= len(await asyncio.wait_for(loop.sock_recv(reader, left), PATIENCE_S))
            await asyncio.wait_for(sending, PATIENCE_S)


async def until_probed(sender: socket.socket) -> None:
    """Its window has been closed for longer than a silent one would be borne."""
    last_ack_ms = 0
    async with asyncio.timeout(PATIENCE_S):
        while last_ack_ms < silence.SILENT_S * 1000:
            await asyncio.sleep(0.05)
            info = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, silence.TCP_INFO_HEAD.size)
            last_ack_ms = silence.TCP_INFO_HEAD.unpack(info)[3]


def test_the_same_machine_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert silence._is_loopback(("127.0.0.1", 1)) and silence._is_loopback(("::1", 1, 0, 0))
    assert not silence._is_loopback(("10.0.0.2", 1)) and not silence._is_loopback(("fe80::1%eth0", 1, 0, 2))
