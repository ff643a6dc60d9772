"""HTTP as the server speaks it: one request on a connection, which it shuts down after the answer."""

import json
import select
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

MAX_BODY_BYTES = 256 << 20
JSON = "application/json"
CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
    "Access-Control-Allow-Headers: Content-Type, Authorization, X-Requested-With\r\n"
)


class TooLarge(Exception):
    """The body is over the limit."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def route(self) -> str:
        """Method and raw target, by which a handler is found."""
        return f"{self.method} {self.target}"

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


def read(connection: socket.socket) -> Request | None:
    """None if there is none that can be read. Raises `TooLarge`. A client that waits for 100 waits in vain."""
    with connection.makefile("rb") as stream:
        try:
            method, target, _version = stream.readline(65536).decode("latin1").split()
            headers = dict(_headers(stream))
            return Request(method, target, headers, _body(stream, headers))
        except ValueError:
            return None


def _headers(stream: BinaryIO) -> list[tuple[str, str]]:
    headers = []
    while line := stream.readline(65536).decode("latin1").strip():
        name, _, value = line.partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return headers


def _body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return b"".join(_chunks(stream))
    size = int(headers.get("content-length", "0"))
    if size > MAX_BODY_BYTES:
        raise TooLarge
    body = stream.read(size)
    if len(body) < size:
        raise ValueError("the client left in the middle of the body")
    return body


def _chunks(stream: BinaryIO) -> list[bytes]:
    chunks, total = [], 0
    while size := int(stream.readline(1024).split(b";")[0], 16):
        total += size
        if total > MAX_BODY_BYTES:
            raise TooLarge
        chunks.append(stream.read(size))
        stream.readline(1024)
    stream.readline(1024)
    return chunks


def dump(body: object) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def reply(connection: socket.socket, status: HTTPStatus, body: object, content_type: str = JSON) -> None:
    data = dump(body).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{CORS}Content-Type: {content_type}\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)


def reply_to_preflight(connection: socket.socket) -> None:
    connection.sendall(f"HTTP/1.1 200 OK\r\n{CORS}Content-Length: 0\r\n\r\n".encode())


def has_left(connection: socket.socket) -> bool:
    """Whether the client closed its side."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        connection.close()


class EventStream:
    """Server-sent events in chunks. The head goes out with the first event."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.started = False

    def send(self, event: object) -> None:
        """A string goes out as it is, all else as JSON."""
        if not self.started:
            self.started = True
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n{CORS}"
            self._connection.sendall(f"{head}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        data = f"data: {event if isinstance(event, str) else dump(event)}\n\n".encode()
        self._connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        self._connection.sendall(b"0\r\n\r\n")
        self._connection.shutdown(socket.SHUT_RDWR)
