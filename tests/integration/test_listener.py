"""The ingress's own HTTP server, on real sockets."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.engine import free_port
from serve_app.http_io import send_whole
from serve_app.http_protocol import FLUSH_BYTES, MAX_HEAD_BYTES
from serve_app.listen_options import ListenOptions
from serve_app.listener import listening
from serve_app.successor import listeners

PATIENCE_S = 20.0
DRAIN_S = 5
ASK = b"GET /%b HTTP/1.1\r\nHost: here\r\n\r\n"


class Application:
    """Answers `/gate` when its gate opens, `/stream` piece by piece, `/flood` without an end, and echoes WebSockets."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self.clients: list[Any] = []
        self.flooded = 0
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await self._echo(receive, send)
        self.clients.append(scope["client"])
        await receive()
        self.asked.set()
        match scope["path"]:
            case "/gate":
                await self.gate.wait()
                await self._whole(send, b'{"ok": true}')
            case "/stream":
                await self._stream(send)
            case "/flood":
                await self._flood(receive, send)
            case _:
                await self._whole(send, b'{"path": "%s"}' % scope["path"].encode())

    async def _whole(self, send: Send, body: bytes) -> None:
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.gate.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async def _flood(self, receive: Receive, send: Send) -> None:
        async def leave() -> None:
            await receive()
            self.left.set()

        leaving = asyncio.create_task(leave())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.left.is_set():
            await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})
            self.flooded += 4096
            if self.flooded > 256 * 2**20:
                break
        await leaving

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@asynccontextmanager
async def served(app: ASGIApp, **more: Any) -> AsyncIterator[str]:
    options = ListenOptions("127.0.0.1", free_port(), **({"keep_alive_timeout_s": 60} | more))
    async with asyncio.timeout(PATIENCE_S), listening(app, options, DRAIN_S):
        yield f"http://127.0.0.1:{options.port}"


async def raw(url: str, data: bytes) -> bytes:
    """What comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(data)
    try:
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return await reader.read()
    finally:
        writer.close()


async def test_requests_are_answered_on_one_connection() -> None:
    app = Application()
    async with served(app) as url, httpx.AsyncClient() as client:
        for path in ("/a", "/b"):
            assert (await client.get(url + path)).json() == {"path": path}
    assert app.clients[0] == app.clients[1]


async def test_a_stream_comes_as_it_is_sent() -> None:
    app = Application()
    async with served(app) as url, httpx.AsyncClient() as client, client.stream("GET", url + "/stream") as answer:
        pieces = []
        async for piece in answer.aiter_raw():
            pieces.append(piece)
            app.gate.set()
    assert pieces == [b"first", b"second"]


async def test_who_reads_slowly_is_waited_for() -> None:
    app = Application()
    async with served(app) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1024)
        writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        stuck = -1
        while stuck != app.flooded or not stuck:
            stuck = app.flooded
            await asyncio.sleep(0.3)
        # What the kernel holds for both ends, and what is on its way.
        assert app.flooded < 32 * 2**20 + FLUSH_BYTES
        writer.close()
        await app.left.wait()


async def test_a_websocket() -> None:
    async with served(Application()) as url, websockets.connect(url.replace("http", "ws") + "/ws") as socket_:
        for text in ("one", "two " * 50_000):
            await socket_.send(text)
            assert await socket_.recv() == text


async def test_a_body_is_no_head() -> None:
    """However it is cut: in the middle, at once with its head, or with the next request behind it."""
    body = b"x" * (3 * MAX_HEAD_BYTES)
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with served(Application()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for pieces in ((head, body), (head + body,), (head, body[:70], body[70:]), (head + body + head, body)):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
            for _ in range(b"".join(pieces).count(head)):
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200 ")
                await reader.readexactly(len(b'{"path": "/a"}'))
        writer.close()


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 413, [], b"too large")


async def test_who_is_refused_while_still_sending_gets_the_answer() -> None:
    """A connection that is closed on a client that sends takes the answer away from it."""
    body = b"x" * (8 * 2**20)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with served(refuses) as url:
        for _ in range(5):
            assert (await raw(url, head + body)).endswith(b"\r\n\r\ntoo large")
        # One that never comes to an end is not waited for.
        assert (await raw(url, head + body[:70_000])).endswith(b"\r\n\r\ntoo large")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-long: " + b"y" * (MAX_HEAD_BYTES + 1), 431, "headers_too_large"),
        (b"GET /" + b"y" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\n", 431, "headers_too_large"),
    ],
)
async def test_what_is_no_request_gets_the_envelope_of_errors(data: bytes, status: int, code: str) -> None:
    async with served(Application()) as url:
        head, _, body = (await raw(url, data)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(body)["error"]["code"] == code
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200


async def test_who_connects_and_says_nothing_is_hung_up_on() -> None:
    async with served(Application(), keep_alive_timeout_s=1) as url:
        assert await raw(url, b"") == b""


async def test_replicas_share_a_port() -> None:
    one, other = Application(), Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    url = f"http://127.0.0.1:{options.port}/"
    async with asyncio.timeout(PATIENCE_S), listening(one, options, DRAIN_S):
        async with listening(other, options, DRAIN_S):
            while not (one.clients and other.clients):
                async with httpx.AsyncClient() as client:
                    await client.get(url)
        before = len(one.clients)
        async with httpx.AsyncClient() as client:
            await client.get(url)
        assert len(one.clients) == before + 1


async def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ListenOptions("127.0.0.1", taken.getsockname()[1], 60)
        with pytest.raises(OSError, match="in use"):
            async with listening(Application(), options, DRAIN_S):
                pass


async def only_one_listens(port: int) -> None:
    while len(listeners(Path("/proc/net/tcp").read_text().splitlines()[1:], port)) != 1:
        await asyncio.sleep(0.01)


async def replaced() -> bool:
    return True


async def taken_over(port: int, new: Application) -> None:
    """Who comes now is answered by the new one."""
    await only_one_listens(port)
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{port}/new")
    assert new.clients


async def test_what_is_being_answered_is_answered_to_the_end() -> None:
    app = Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    url = f"http://127.0.0.1:{options.port}"
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient() as client:
        async with listening(app, options, DRAIN_S):
            answer = asyncio.create_task(client.get(url + "/gate"))
            await app.asked.wait()
            asyncio.get_running_loop().call_later(0.3, app.gate.set)
        assert (await answer).json() == {"ok": True}
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_one_that_is_replaced_goes_on_until_the_other_is_there() -> None:
    async def replaced() -> bool:
        return True

    old, new = Application(), Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    url = f"http://127.0.0.1:{options.port}/a"
    async with asyncio.timeout(PATIENCE_S), contextlib.AsyncExitStack() as stack:
        own = contextlib.AsyncExitStack()
        await own.enter_async_context(listening(old, options, drain_s=0, replaced=replaced))
        leaving = asyncio.create_task(own.aclose())
        for _ in range(10):
            async with httpx.AsyncClient() as client:
                assert (await client.get(url)).status_code == 200
        assert not leaving.done()
        await stack.enter_async_context(listening(new, options, DRAIN_S))
        await leaving
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200
    assert new.clients


async def test_one_that_is_replaced_answers_its_open_connections_once_more() -> None:
    """Who comes anew gets the other one; a stream is not cut when its usual time to end is over."""
    old, new = Application(), Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    async with asyncio.timeout(PATIENCE_S), contextlib.AsyncExitStack() as stack:
        own = contextlib.AsyncExitStack()
        await own.enter_async_context(listening(old, options, drain_s=0, replaced=replaced))
        kept, slow = [await asyncio.open_connection("127.0.0.1", options.port) for _ in range(2)]
        kept[1].write(ASK % b"first")
        assert b'"/first"' in await kept[0].readuntil(b"}")
        slow[1].write(ASK % b"gate")
        await old.asked.wait()
        await stack.enter_async_context(listening(new, options, DRAIN_S))
        leaving = asyncio.create_task(own.aclose())
        await taken_over(options.port, new)
        kept[1].write(ASK % b"second")
        answer = await kept[0].read()
        assert answer.endswith(b'{"path": "/second"}') and b"connection: close" in answer.lower()
        assert not leaving.done()
        old.gate.set()
        assert (await slow[0].read()).endswith(b'{"ok": true}')
        await leaving
        for _, writer in (kept, slow):
            writer.close()


async def test_a_connection_in_the_middle_of_an_answer_is_not_closed_without_a_word() -> None:
    """Its client was promised that it may send the next request when this answer is over."""
    old, new = Application(), Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    async with asyncio.timeout(PATIENCE_S), contextlib.AsyncExitStack() as stack:
        own = contextlib.AsyncExitStack()
        await own.enter_async_context(listening(old, options, drain_s=0, replaced=replaced))
        reader, writer = await asyncio.open_connection("127.0.0.1", options.port)
        writer.write(ASK % b"stream")
        assert b"connection: close" not in (await reader.readuntil(b"first\r\n")).lower()
        await stack.enter_async_context(listening(new, options, DRAIN_S))
        leaving = asyncio.create_task(own.aclose())
        await taken_over(options.port, new)
        old.gate.set()
        assert b"second" in await reader.readuntil(b"0\r\n\r\n")
        writer.write(ASK % b"next")
        answer = await reader.read()
        assert answer.endswith(b'{"path": "/next"}') and b"connection: close" in answer.lower()
        await leaving
        writer.close()


async def test_but_not_for_ever() -> None:
    app = Application()
    options = ListenOptions("127.0.0.1", free_port(), 60)
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient() as client:
        async with listening(app, options, drain_s=1):
            answer = asyncio.create_task(client.get(f"http://127.0.0.1:{options.port}/gate"))
            await app.asked.wait()
        with pytest.raises(httpx.HTTPError):
            (await answer).raise_for_status()


async def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"] + [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    trusted = ssl.create_default_context(cafile=str(certificate))
    async with (
        served(Application(), ssl_keyfile=str(key), ssl_certfile=str(certificate)) as url,
        httpx.AsyncClient(verify=trusted) as client,
    ):
        assert (await client.get(url.replace("http:", "https:") + "/a")).json() == {"path": "/a"}
