"""What people ask of slots: how they stand, what happens to them, what their engines say; to load and unload them."""

import json
from collections.abc import AsyncIterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from serve_app.errors import BadRequest
from serve_app.events import Batch
from serve_app.http_io import send_chunk, send_end, send_start, until_client_leaves
from serve_app.reply import KEEP_ALIVE, STREAM_HEADERS

Record = dict[str, Any]
EVENT_WAIT_S = 10.0
DEFAULT_LINES = 200
MOST_LINES = 10_000
TEXT_HEADERS = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-accel-buffering", b"no"))
YES = frozenset({"1", "true", "yes"})
NO = frozenset({"", "0", "false", "no"})


class BoardCalls(Protocol):
    """The board, asked by calls that can be awaited."""

    async def records(self) -> list[Record]: ...
    async def events_after(self, cursor: str | None, wait_s: float) -> Batch: ...
    async def load(self, slot: str) -> Record: ...
    async def unload(self, slot: str, force: bool) -> Record: ...
    async def pin(self, slot: str, pinned: bool) -> Record: ...


class Logs(Protocol):
    def chunks(self, slot: str, node: str | None, lines: int, follows: bool) -> AsyncIterator[bytes]:
        """The last lines of a slot's engine on `node`, and what follows."""


class SlotsApi:
    def __init__(self, board: BoardCalls, names: tuple[str, ...], logs: Logs) -> None:
        self._board, self._names, self._logs = board, names, logs

    async def slots(self, _: Request) -> Response:
        return JSONResponse({"slots": await self._board.records()})

    async def slot(self, request: Request) -> Response:
        return JSONResponse(await self._record(self._name(request.path_params["name"])))

    async def load(self, request: Request) -> Response:
        return JSONResponse(await self._board.load(self._name(request.path_params["name"])))

    async def unload(self, request: Request) -> Response:
        name = self._name(request.path_params["name"])
        return JSONResponse(await self._board.unload(name, flag(request, "force")))

    async def pin(self, request: Request) -> Response:
        return JSONResponse(await self._board.pin(self._name(request.path_params["name"]), True))

    async def unpin(self, request: Request) -> Response:
        return JSONResponse(await self._board.pin(self._name(request.path_params["name"]), False))

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every move and progress as server-sent events. `Last-Event-ID` (or `?last_event_id=`) continues a stream."""
        request = Request(scope)
        cursor = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
        await stream(receive, send, STREAM_HEADERS, self._event_chunks(cursor))

    async def _event_chunks(self, cursor: str | None) -> AsyncIterator[bytes]:
        wait_s = 0.0  # the first answer also tells the client that it is connected
        while True:
            batch = await self._board.events_after(cursor, wait_s)
            cursor, wait_s = batch.cursor, EVENT_WAIT_S
            yield b"".join(map(event_chunk, batch.events)) or KEEP_ALIVE

    async def logs(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The engine's last `?lines=` lines; with `?follow=1` all that it writes from now on, too."""
        request = Request(scope)
        slot = self._name(request.path_params["name"])
        lines = line_count(request)
        follows = flag(request, "follow")
        node = (await self._record(slot))["last_node"]
        await stream(receive, send, TEXT_HEADERS, self._logs.chunks(slot, node, lines, follows))

    async def _record(self, slot: str) -> Record:
        return next(record for record in await self._board.records() if record["name"] == slot)

    def _name(self, name: str) -> str:
        if name in self._names:
            return name
        known = ", ".join(self._names)
        raise BadRequest(404, f"The slot '{name[:200]}' does not exist. There are: {known}.", "slot_not_found", "slot")


async def stream(
    receive: Receive, send: Send, headers: tuple[tuple[bytes, bytes], ...], chunks: AsyncIterator[bytes]
) -> None:
    """Send what comes until it ends or the client leaves."""
    async with until_client_leaves(receive):
        await send_start(send, 200, headers)
        async for chunk in chunks:
            await send_chunk(send, chunk)
        await send_end(send)


def event_chunk(event: Record) -> bytes:
    return f"id: {event['id']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def flag(request: Request, name: str) -> bool:
    """Raises 400 for what is neither yes nor no."""
    value = request.query_params.get(name, "").lower()
    if value not in YES | NO:
        raise BadRequest(400, f"'{name}' must be 1 or 0, not '{value[:40]}'.", "invalid_value", name)
    return value in YES


def line_count(request: Request) -> int:
    text = request.query_params.get("lines", str(DEFAULT_LINES))
    if not text.isdecimal() or len(text) > len(str(MOST_LINES)) or int(text) > MOST_LINES:
        raise BadRequest(400, f"'lines' must be 0 to {MOST_LINES}, not '{text[:40]}'.", "invalid_value", "lines")
    return int(text)


class BoardHandle:
    """`BoardCalls` through a Serve deployment handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def records(self) -> list[Record]:
        records: list[Record] = await self._handle.records.remote()
        return records

    async def events_after(self, cursor: str | None, wait_s: float) -> Batch:
        batch: Batch = await self._handle.events_after.remote(cursor, wait_s)
        return batch

    async def load(self, slot: str) -> Record:
        record: Record = await self._handle.load.remote(slot)
        return record

    async def want(self, slot: str) -> None:
        await self._handle.want.remote(slot)

    async def unload(self, slot: str, force: bool) -> Record:
        record: Record = await self._handle.unload.remote(slot, force)
        return record

    async def pin(self, slot: str, pinned: bool) -> Record:
        record: Record = await self._handle.pin.remote(slot, pinned)
        return record
