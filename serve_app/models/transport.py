"""HTTP whose waits end soon after a pull is cancelled, and whose failures are of few kinds."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from threading import Event
from typing import Any, Self, TypeVar

import httpx2

from providers.pulling import PullCancelled

CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 15.0
"""No byte for so long, the first one included, is a failed try."""
CANCEL_POLL_S = 0.2
MOST_REDIRECTS = 5
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)

T = TypeVar("T")


class Kind(StrEnum):
    """What to do about a failure depends on this alone."""

    UNREACHABLE = "unreachable"
    """No connection."""
    SILENT = "silent"
    """Connected, but nothing came for `READ_TIMEOUT_S`."""
    CUT = "cut"
    """The answer ended early, or was another than the one asked for."""
    BUSY = "busy"
    """A status that may pass: 429, 5xx."""
    REFUSED = "refused"
    """A status that will stay."""


class Failure(Exception):
    """One try came to nothing. `status` and `headers` are those of the answer, if there was one."""

    def __init__(
        self, kind: Kind, detail: str, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind, detail, status, headers)
        self.kind, self.detail, self.status, self.headers = kind, detail, status, headers or {}


@dataclass(frozen=True, slots=True)
class Answer:
    """An open answer below 400, or 416. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    next_page: str | None
    pour: Callable[[Callable[[bytes], None]], None]
    """Hands the body to a function, piece by piece as it comes."""

    def text(self) -> str:
        pieces: list[bytes] = []
        self.pour(pieces.append)
        return b"".join(pieces).decode("utf-8", "replace")


class Transport:
    """For one thread. It has an event loop of its own: only so can a wait for a silent server be ended at will."""

    def __init__(self, cancelled: Event, while_waiting: Callable[[], None] = lambda: None) -> None:
        """`while_waiting` is called every `CANCEL_POLL_S`."""
        self.cancelled, self._while_waiting = cancelled, while_waiting
        self._loop = asyncio.new_event_loop()
        timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.AsyncClient(timeout=timeout, headers={"Accept-Encoding": "identity"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        # An interrupted process leaves requests behind.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._client.aclose()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Raises `Failure` and `PullCancelled`, here and while the body comes. Keys do not leave the host."""
        with self._ask("GET", url, headers, follow_redirects=True) as response:
            following = response.links.get("next", {}).get("url")
            yield Answer(
                response.status_code, dict(response.headers), following, lambda sink: self._pour(response, sink)
            )

    def head(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of the last answer on the same host; one that leads away from it is not followed."""
        for _ in range(MOST_REDIRECTS):
            with self._ask("HEAD", url, headers, follow_redirects=False) as response:
                onward = response.next_request
                if onward is None or onward.url.host != response.request.url.host:
                    return dict(response.headers)
                url = str(onward.url)
        raise Failure(Kind.REFUSED, "leads in a circle")

    @contextmanager
    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], follow_redirects: bool
    ) -> Iterator[httpx2.Response]:
        with _translated():
            request = self._client.build_request(method, url, headers=dict(headers))
        response = self._wait(self._client.send(request, stream=True, follow_redirects=follow_redirects))
        try:
            _refuse(response)
            yield response
        finally:
            self._loop.run_until_complete(response.aclose())

    def _pour(self, response: httpx2.Response, sink: Callable[[bytes], None]) -> None:
        async def pour() -> None:
            async for piece in response.aiter_raw():
                sink(piece)

        self._wait(pour())

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with _translated():
            return self._loop.run_until_complete(self._unless_cancelled(coroutine))

    async def _unless_cancelled(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(coroutine)
        try:
            while not task.done():
                if self.cancelled.is_set():
                    raise PullCancelled
                await asyncio.wait([task], timeout=CANCEL_POLL_S)
                self._while_waiting()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        return task.result()


def _refuse(response: httpx2.Response) -> None:
    status = response.status_code
    if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    kind = Kind.BUSY if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR else Kind.REFUSED
    raise Failure(kind, f"answered {status} {response.reason_phrase}".strip(), status, dict(response.headers))


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors in our terms, most specific first."""
    try:
        yield
    except httpx2.ConnectTimeout as error:
        raise Failure(Kind.UNREACHABLE, f"cannot be reached (no answer for {CONNECT_TIMEOUT_S:g} s)") from error
    except (httpx2.ConnectError, httpx2.ProxyError) as error:
        raise Failure(Kind.UNREACHABLE, f"cannot be reached ({_reason(error)})") from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as error:
        raise Failure(Kind.REFUSED, f"cannot be asked ({_reason(error)})") from error
    except httpx2.TimeoutException as error:
        raise Failure(Kind.SILENT, f"sent nothing for {READ_TIMEOUT_S:g} s") from error
    except httpx2.HTTPError as error:
        raise Failure(Kind.CUT, f"broke off ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
