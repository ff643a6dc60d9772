"""Load: a job for the generator, which is a process of its own (`clients.py`), and what it saw."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

GRACE_S = 60.0


class LoadError(Exception):
    """A request of a job failed, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a slot answers, and the key it asks for."""

    host: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """`clients` send `body` to `path` for `seconds`; beside them `idle` connections, which have asked one small thing
    each, are open."""

    host: str
    port: int
    key: str
    path: str
    body: str
    clients: int
    seconds: float
    idle: int = 0


@dataclass(slots=True)
class Seen:
    """What came within the job's seconds. Times are in seconds; `event_span_s` is from the first event to the last.
    Lists have one entry for each answer, but `gap_s`: from one event of a stream to the next, or, so that streams which
    have stalled count, to the end of the time."""

    requests: int = 0
    events: int = 0
    event_span_s: float = 0
    first_byte_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    gap_s: list[float] = field(default_factory=list)
    seconds: float = 0
    failures: list[str] = field(default_factory=list)


def load(address: Address, path: str, body: Mapping[str, Any], clients: int, seconds: float) -> Seen:
    """Run a job in a process of its own. Raises `LoadError`."""
    with Generator(job_of(address, path, body, clients, seconds)) as generator:
        return generator.seen()


def job_of(address: Address, path: str, body: Mapping[str, Any], clients: int, seconds: float, idle: int = 0) -> Job:
    return Job(address.host, address.port, address.key, path, json.dumps(body), clients, seconds, idle)


class Generator:
    """A job's process."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> "Generator":
        argv = [sys.executable, "-m", "benchmarks.clients"]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._alarm = threading.Timer(self._job.seconds + GRACE_S, self._process.kill)
        self._alarm.start()
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            json.dump(asdict(self._job), stdin)
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.cancel()
        self._process.kill()
        with self._process:
            """Its end is waited for."""

    def wait_until_idle(self) -> None:
        """Return once the idle connections are open."""
        self._line()

    def seen(self) -> Seen:
        """Once the job is done. Raises `LoadError`."""
        line = self._line()
        try:
            seen = Seen(**json.loads(line))
        except ValueError as error:
            raise LoadError(f"the load generator's report is cut after {len(line)} characters") from error
        if seen.failures:
            raise LoadError(f"{len(seen.failures)} requests to {self._job.path} failed, such as: {seen.failures[0]}")
        return seen

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError(f"the load generator ended in its work on {self._job.path}")
        return line


def first_byte_s(address: Address, path: str, body: dict[str, Any], timeout_s: float) -> float:
    """Seconds from one request on a new connection to the first byte of its answer's body. Raises `LoadError`."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    began = time.perf_counter()
    try:
        connection.request("POST", path, json.dumps(body), _headers(address.key))
        response = connection.getresponse()
        first = response.read(1)
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise LoadError(f"{path} answered {response.status}: {(first + response.read())[:300]!r}")
    finally:
        # A long stream would take its time to the end.
        connection.close()
    return seconds


def _headers(key: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


def request_bytes(job: Job) -> bytes:
    body = job.body.encode()
    lines = [f"POST {job.path} HTTP/1.1", f"Host: {job.host}:{job.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in _headers(job.key).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
