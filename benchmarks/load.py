"""The load generator: `python -m benchmarks.load` takes a job on stdin and writes what it saw to stdout, both as JSON.

A process of its own, and little but a parser, since it shares the cores with what it measures. Each client keeps one
connection and sends its next request as soon as the answer is complete.
"""

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import httptools

SETTLE_S = 0.3
"""Before figures count: every client has its connection by then, and a stream that was cut off has ended."""
GRACE_S = 30.0
END_OF_EVENT = b"\n\n"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a slot answers, and the key it asks for."""

    host: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """`clients` send `body` to `path` for `seconds`."""

    host: str
    port: int
    key: str
    path: str
    body: str
    clients: int
    seconds: float


@dataclass(slots=True)
class Seen:
    """What came within the job's seconds. Times are in seconds; `event_span_s` is from the first event to the last."""

    requests: int = 0
    events: int = 0
    event_span_s: float = 0
    first_byte_s: list[float] = field(default_factory=list)
    seconds: float = 0
    failures: list[str] = field(default_factory=list)


class LoadError(Exception):
    """A request of a job failed, so its figures mean nothing."""


def load(address: Address, path: str, body: dict[str, Any], clients: int, seconds: float) -> Seen:
    """Run a job in a process of its own. Raises `LoadError`."""
    job = Job(address.host, address.port, address.key, path, json.dumps(body), clients, seconds)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + GRACE_S,
        check=True,
    )
    seen = Seen(**json.loads(done.stdout))
    if seen.failures:
        raise LoadError(f"{len(seen.failures)} requests to {path} failed, such as: {seen.failures[0]}")
    return seen


def first_byte_s(address: Address, path: str, body: dict[str, Any], timeout_s: float) -> float:
    """Seconds from one request on a new connection to the first byte of its answer's body. Raises `LoadError`."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    began = time.perf_counter()
    try:
        connection.request("POST", path, json.dumps(body), _headers(address.key))
        response = connection.getresponse()
        first = response.read(1)
        seconds = time.perf_counter() - began
        rest = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise LoadError(f"{path} answered {response.status}: {(first + rest)[:300]!r}")
    return seconds


def _headers(key: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


class Client(asyncio.Protocol):
    """One connection. The parser calls the methods that begin with `on_`."""

    def __init__(self, request: bytes, seen: Seen, reconnect: Callable[[], None]) -> None:
        self._request, self._seen, self._reconnect = request, seen, reconnect
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._began = self._first_event = self._last_event = 0.0
        self._answering, self._tail, self._refusal = False, b"", b""
        self.counting, self.stopped = False, False

    @property
    def event_times(self) -> tuple[float, float]:
        return self._first_event, self._last_event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """A server may close after an answer; one that closes in the middle of it has failed."""
        if self.stopped:
            return
        if self._answering:
            self._seen.failures.append(f"closed in the middle of an answer: {exc}")
        else:
            self._reconnect()

    def stop(self) -> None:
        self.stopped = True
        if self._transport is not None:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        now = time.perf_counter()
        if not self._answering:
            self._answering = True
            if self.counting:
                self._seen.first_byte_s.append(now - self._began)
        if self._parser.get_status_code() != 200:
            self._refusal += body
        elif self.counting and (count := (self._tail + body).count(END_OF_EVENT)):
            self._seen.events += count
            self._first_event = self._first_event or now
            self._last_event = now
        self._tail = b"\n" if body.endswith(b"\n") and not body.endswith(END_OF_EVENT) else b""

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._seen.failures.append(f"{self._parser.get_status_code()}: {self._refusal[:300]!r}")
            self.stop()
            return
        self._answering = False
        if self.counting:
            self._seen.requests += 1
        if not self.stopped and self._parser.should_keep_alive():
            self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(self._request)


async def work(job: Job) -> Seen:
    loop = asyncio.get_running_loop()
    seen = Seen()
    request = request_bytes(job)
    connecting: set[asyncio.Task[Any]] = set()

    def connected(task: asyncio.Task[Any]) -> None:
        connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            seen.failures.append(f"no connection: {error}")

    def connect(client: Client) -> None:
        task = loop.create_task(loop.create_connection(lambda: client, job.host, job.port))
        connecting.add(task)
        task.add_done_callback(connected)

    clients: list[Client] = []
    for index in range(job.clients):
        client = Client(request, seen, lambda index=index: connect(clients[index]))  # type: ignore[misc]
        clients.append(client)
        connect(client)
    await asyncio.sleep(SETTLE_S)
    began = time.perf_counter()
    for client in clients:
        client.counting = True
    await asyncio.sleep(job.seconds)
    for client in clients:
        client.counting = False
    seen.seconds = time.perf_counter() - began
    spans = [client.event_times for client in clients if client.event_times[0]]
    if spans:
        seen.event_span_s = max(last for _, last in spans) - min(first for first, _ in spans)
    for client in clients:
        client.stop()
    return seen


def request_bytes(job: Job) -> bytes:
    body = job.body.encode()
    lines = [f"POST {job.path} HTTP/1.1", f"Host: {job.host}:{job.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in _headers(job.key).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> None:
    seen = asyncio.run(work(Job(**json.load(sys.stdin))))
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
