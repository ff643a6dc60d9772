"""Reading a request and writing an answer, in ASGI's terms. Spec: https://asgi.readthedocs.io/en/latest/specs/www.html"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager

from pydantic import JsonValue
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import Receive, Send

from providers.base import JsonObject
from serve_app.errors import Answer, BadRequest

RawHeaders = Iterable[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json")
COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})
"""https://www.iana.org/assignments/http-parameters. What else clients write there, such as a character set, says
nothing of the bytes."""
UPLOAD_TIMEOUT_S = 600.0
WATCH_AFTER_S = 0.02
"""A request that is answered sooner needs no task that looks whether its client is still there."""


class ClientGone(Exception):
    """The client closed its connection; nobody reads the answer."""


async def read_body(headers: Headers, receive: Receive, limit: int, timeout_s: float = UPLOAD_TIMEOUT_S) -> bytes:
    """The whole body. Raises 413 as soon as it is known to be over `limit` bytes, 415 if it is compressed, 408 if it
    takes too long."""
    refuse_declared(headers, limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _whole_body(receive, limit)
    except TimeoutError as error:
        raise too_slow(timeout_s) from error


async def _whole_body(receive: Receive, limit: int) -> bytes:
    chunks = [chunk async for chunk in body_chunks(receive, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_chunks(receive: Receive, limit: int) -> AsyncGenerator[bytes]:
    """As they come, empty ones included. Raises 413 as soon as they are over `limit` bytes, and `ClientGone`."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        more = message.get("more_body", False)
        yield chunk


def refuse_declared(headers: Headers, limit: int) -> None:
    """Raises 413 if the body will be over `limit` bytes by its own account, 415 if it is compressed."""
    if (coding := headers.get("content-encoding", "").strip().lower()) in COMPRESSIONS:
        raise BadRequest(415, f"The request body is compressed ({coding}); send it plain.", "unsupported_encoding")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)


def too_large(limit: int) -> BadRequest:
    return BadRequest(413, f"The request body is larger than {limit / 2**20:g} MiB.", "request_too_large")


def too_slow(timeout_s: float) -> BadRequest:
    return BadRequest(408, f"The request body took longer than upload_timeout_s ({timeout_s:g} s).", "upload_timeout")


def parse_object(body: bytes) -> JsonObject:
    """The body as a JSON object. Raises 400 for anything else, NaN and broken UTF-8 included."""
    try:
        value: JsonValue = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(400, f"The request body is not valid JSON: {error}.", "invalid_json") from error
    if not isinstance(value, dict):
        raise BadRequest(400, "The request body must be a JSON object.", "invalid_json")
    return value


def dump_json(value: JsonValue) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@asynccontextmanager
async def until_client_leaves(receive: Receive) -> AsyncIterator[None]:
    """Cancel the body of this context when the client disconnects, and raise `ClientGone` instead."""
    loop, worker = asyncio.get_running_loop(), asyncio.current_task()
    assert worker is not None
    gone = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        worker.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(WATCH_AFTER_S, begin)
    try:
        yield
    except asyncio.CancelledError:
        if gone and worker.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def send_start(send: Send, status: int, headers: RawHeaders) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def send_whole(send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    await send_start(send, status, [*headers, (b"content-length", str(len(body)).encode())])
    await send({"type": "http.response.body", "body": body})


async def send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def send_end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b""})


async def send_answer(send: Send, answer: Answer, anthropic: bool) -> None:
    """An error in the envelope that the client's kind expects."""
    headers = [JSON_TYPE]
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(answer.retry_after_s))).encode()))
    if answer.allow:
        headers.append((b"allow", ", ".join(answer.allow).encode()))
    await send_whole(send, answer.status, headers, dump_json(answer.anthropic() if anthropic else answer.openai()))
