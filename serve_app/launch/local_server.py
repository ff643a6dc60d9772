"""The running server, asked from its own machine: no proxies of the environment, no doubt about its certificate."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

Record = dict[str, Any]
TIMEOUT_S = 5.0
SILENCE_S = 30.0
"""The stream of events sends a comment every ten seconds at least."""
AGAIN_S = 1.0
DATA, ID = "data:", "id:"


def url_of(host: str, port: int, secure: bool = False) -> str:
    """An address that can be opened here, for a host to listen on."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"{'https' if secure else 'http'}://{shown}:{port}"


class LocalServer:
    """`key` is one of its API keys, if it has any."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._address = urlsplit(url)
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def answers(self) -> bool:
        try:
            with self._asked("/health", TIMEOUT_S) as response:
                return response.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def slots(self) -> list[Record]:
        """Raises OSError if it does not answer so."""
        try:
            with self._asked("/api/slots", TIMEOUT_S) as response:
                if response.status != 200:
                    raise OSError(f"it answers {response.status} {response.reason}")
                slots: list[Record] = json.load(response)["slots"]
                return slots
        except (http.client.HTTPException, ValueError, KeyError) as error:
            raise OSError(f"its answer cannot be read: {error}") from error

    @contextlib.contextmanager
    def _asked(
        self, path: str, timeout_s: float, headers: Mapping[str, str] = {}
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self.connect(timeout_s)
        try:
            connection.request("GET", path, headers={**self._headers, **headers})
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        # It was started by us, or by our user; its name in the certificate is not the address that we use.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    def ask_for_events(self, connection: http.client.HTTPConnection, cursor: str | None) -> http.client.HTTPResponse:
        resumed = {} if cursor is None else {"Last-Event-ID": cursor}
        connection.request("GET", "/api/slots/events", headers={**self._headers, **resumed})
        return connection.getresponse()


class Follower:
    """Hands every event of the slots to `hear`, in a thread of its own, across restarts of the ingress."""

    def __init__(self, server: LocalServer, hear: Callable[[Record], None]) -> None:
        self._server, self._hear = server, hear
        self._cursor: str | None = None
        self._over = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the stream: a server that stops waits for those that are open."""
        self._over.set()
        if (open_one := self._socket) is not None:
            with contextlib.suppress(OSError):
                open_one.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError), self._stream() as lines:
                for event in events_in(lines):
                    self._cursor = str(event.get("id", self._cursor))
                    self._hear(event)
            self._over.wait(AGAIN_S)

    @contextlib.contextmanager
    def _stream(self) -> Iterator[Iterator[str]]:
        connection = self._server.connect(SILENCE_S)
        try:
            connection.connect()
            self._socket = connection.sock
            if not self._over.is_set():
                response = self._server.ask_for_events(connection, self._cursor)
                yield (raw.decode().rstrip("\r\n") for raw in response)
            else:
                yield iter(())
        finally:
            self._socket = None
            connection.close()


def events_in(lines: Iterator[str]) -> Iterator[Record]:
    """The events of slots in a stream of server-sent events, which are JSON objects with their own `id`."""
    for line in lines:
        if line.startswith(DATA):
            event = json.loads(line.removeprefix(DATA))
            if isinstance(event, dict) and "name" in event and "state" in event:
                yield event
