"""The load generator: `python -m benchmarks.clients` takes a job on stdin and tells on stdout what it saw, as JSON.

A process of its own, and little but a parser, since it shares the cores with what it measures. Each client keeps one
connection and sends its next request as soon as the answer is complete.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import cast

import httptools
import uvloop

from benchmarks.load import Job, Seen, request_bytes

SETTLE_S = 0.3
"""Before figures count, once every client has had something: by then a stream that was cut off has ended."""
SPREAD_S = 0.2
"""Clients come one after the other in this time: people do not begin in step, nor do their tokens."""
FIRST_ANSWER_S = 30.0
"""A client that has had nothing by then is not waited for."""
END_OF_EVENT = b"\n\n"
IDLE_PATH = "/health"


class Client(asyncio.Protocol):
    """One connection. The parser calls the methods that begin with `on_`."""

    def __init__(self, request: bytes, seen: Seen, reconnect: Callable[[], None]) -> None:
        self._request, self._seen, self._reconnect = request, seen, reconnect
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._began = self._first_event = self._last_event = self._previous_event = 0.0
        self._answering, self._tail, self._refusal = False, b"", b""
        self.counting, self.stopped = False, False
        self.served = asyncio.get_running_loop().create_future()
        """Done once something has come, or nothing will."""

    def count(self, now: float) -> None:
        self.counting, self._previous_event = True, now if self._answering else 0.0

    def end_count(self, now: float) -> None:
        self.counting = False
        if self._previous_event:
            self._seen.gap_s.append(now - self._previous_event)

    @property
    def event_times(self) -> tuple[float, float]:
        return self._first_event, self._last_event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
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
            self.settle()
        else:
            self._reconnect()

    def settle(self) -> None:
        if not self.served.done():
            self.served.set_result(None)

    def stop(self) -> None:
        self.stopped = True
        self.settle()
        if self._transport is not None:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        now = time.perf_counter()
        if not self._answering:
            self._answering = True
            self._previous_event = 0.0
            self.settle()
            if self.counting:
                self._seen.first_byte_s.append(now - self._began)
        if self._parser.get_status_code() != 200:
            self._refusal += body
        elif self.counting and (count := (self._tail + body).count(END_OF_EVENT)):
            self._seen.events += count
            self._first_event = self._first_event or now
            self._last_event = now
            if self._previous_event:
                # Those that come together have no time between them.
                self._seen.gap_s += [now - self._previous_event] + [0.0] * (count - 1)
            self._previous_event = now
        self._tail = b"\n" if body.endswith(b"\n") and not body.endswith(END_OF_EVENT) else b""

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._seen.failures.append(f"{self._parser.get_status_code()}: {self._refusal[:300]!r}")
            self.stop()
            return
        self._answering, self._previous_event = False, 0.0
        if self.counting:
            self._seen.requests += 1
            self._seen.answer_s.append(time.perf_counter() - self._began)
        if not self.stopped and self._parser.should_keep_alive():
            self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(self._request)


class Idler(asyncio.Protocol):
    """A connection that has asked one small thing, and stays."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self.answered, self.lost = asyncio.get_running_loop().create_future(), False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def work(job: Job, opened: Callable[[], None] = lambda: None) -> Seen:
    """`opened` is called when the idle connections are open, if there are any."""
    seen = Seen()
    idlers = await idle(job, seen)
    if idlers:
        opened()
    await crowd(job, seen)
    if lost := sum(idler.lost for idler in idlers):
        seen.failures.append(f"{lost} idle connections were closed")
    for idler in idlers:
        idler.close()
    return seen


async def idle(job: Job, seen: Seen) -> list[Idler]:
    """Open the idle connections; each has had its answer."""
    request = f"GET {IDLE_PATH} HTTP/1.1\r\nHost: {job.host}:{job.port}\r\n\r\n".encode()
    idlers = [Idler(request) for _ in range(job.idle)]
    for idler in idlers:
        await asyncio.get_running_loop().create_connection(lambda idler=idler: idler, job.host, job.port)  # type: ignore[misc]
    if idlers:
        _, silent = await asyncio.wait([idler.answered for idler in idlers], timeout=FIRST_ANSWER_S)
        if silent:
            seen.failures.append(f"{len(silent)} idle connections had no answer")
    return idlers


async def crowd(job: Job, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    request = request_bytes(job)
    connecting: set[asyncio.Task[None]] = set()

    async def connected(client: Client) -> None:
        try:
            await loop.create_connection(lambda: client, job.host, job.port)
        except OSError as error:
            seen.failures.append(f"no connection: {error}")
            client.settle()

    def connect(client: Client) -> None:
        task = loop.create_task(connected(client))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    clients: list[Client] = []
    for index in range(job.clients):
        client = Client(request, seen, lambda index=index: connect(clients[index]))  # type: ignore[misc]
        clients.append(client)
        connect(client)
        await asyncio.sleep(SPREAD_S / job.clients)
    await asyncio.wait([client.served for client in clients], timeout=FIRST_ANSWER_S)
    await asyncio.sleep(SETTLE_S)
    began = time.perf_counter()
    for client in clients:
        client.count(began)
    await asyncio.sleep(job.seconds)
    ended = time.perf_counter()
    for client in clients:
        client.end_count(ended)
    seen.seconds = ended - began
    spans = [client.event_times for client in clients if client.event_times[0]]
    if spans:
        seen.event_span_s = max(last for _, last in spans) - min(first for first, _ in spans)
    for client in clients:
        client.stop()


def main() -> None:
    seen = uvloop.run(work(Job(**json.load(sys.stdin)), lambda: print(flush=True)))
    # A loop may leave the pipe as one that does not block, and a long text would be cut.
    os.set_blocking(sys.stdout.fileno(), True)
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    main()
