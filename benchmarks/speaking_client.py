"""A client of hal0's text to speech."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.load import Address, LoadError
from benchmarks.speaking_runs import Speak, Spoken, spoken
from benchmarks.speech_runs import Effort
from serve_app.audio.encode import Format

PATH = "/v1/audio/speech"
TIMEOUT_S = 120.0
MOST_BYTES = 64 * 1024
"""Taken at once, of what has come."""


def speak(address: Address, request: bytes, effort: Effort) -> Spoken:
    """Each client has one connection. Raises `LoadError`."""

    @contextmanager
    def client() -> Iterator[Speak]:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
        try:
            yield lambda: _answer(connection, request)
        finally:
            connection.close()

    return spoken(client, effort)


def request_of(slot: str, voice: str, text: str, format: Format) -> bytes:
    return json.dumps({"model": slot, "voice": voice, "input": text, "response_format": format}).encode()


def _answer(connection: http.client.HTTPConnection, request: bytes) -> Iterator[bytes]:
    connection.request("POST", PATH, request, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise LoadError(f"{PATH} answered {response.status}: {response.read()[:300]!r}")
    while piece := response.read1(MOST_BYTES):
        yield piece
