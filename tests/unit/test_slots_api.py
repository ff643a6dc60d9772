"""Every route of `/api/slots`, behind the edge, with a board that answers what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.routing import Router
from starlette.types import Message, Scope

from serve_app import log_tail, slots_api
from serve_app.edge import Edge
from serve_app.events import Batch
from serve_app.ingress import IngressDeployment
from serve_app.reply import KEEP_ALIVE
from serve_app.security import Door, Keys
from serve_app.slots_api import BoardHandle

PATIENCE_S = 5.0
CHAT = {"name": "chat", "state": "ready", "last_node": "n1"}
ODD = {"name": "my.slot:1", "state": "offline", "last_node": None}
KEYS = Keys(())


class Board:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.batches: asyncio.Queue[Batch] = asyncio.Queue()

    async def records(self) -> list[dict[str, Any]]:
        return [CHAT, ODD]

    async def events_after(self, cursor: str | None, wait_s: float) -> Batch:
        self.calls.append(("events", cursor, wait_s))
        return await self.batches.get()

    async def load(self, slot: str) -> dict[str, Any]:
        return self._noted("load", slot)

    async def unload(self, slot: str, force: bool) -> dict[str, Any]:
        return self._noted("unload", slot, force)

    async def pin(self, slot: str, pinned: bool) -> dict[str, Any]:
        return self._noted("pin", slot, pinned)

    def _noted(self, *call: Any) -> dict[str, Any]:
        self.calls.append(call)
        return {"name": call[1], "state": "asked"}


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def app(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edge:
    """The ingress's own routes."""
    monkeypatch.setenv("HAL0_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    config = SimpleNamespace(slots=[SimpleNamespace(**CHAT), SimpleNamespace(**ODD)])
    ingress = SimpleNamespace(_config=config, _node="n1")
    routes = IngressDeployment._own_routes(cast(IngressDeployment, ingress), cast(BoardHandle, board))
    return Edge(Router(routes), KEYS, Door(KEYS, True, frozenset()))


@pytest.fixture
async def http(app: Edge) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_routed(app)), base_url="http://hal0") as client:
        yield client


def _routed(app: Edge) -> Any:
    """As the ingress does it: a router raises an error for an unknown route only within an application."""

    async def routed(scope: Scope, receive: Any, send: Any) -> None:
        scope["app"] = app
        await app(scope, receive, send)

    return routed


class Stream:
    """A client of an endless answer, which leaves when the test says so."""

    def __init__(self, app: Edge, path: str, query: str = "", **headers: str) -> None:
        self.sent: list[Message] = []
        self._left = asyncio.Event()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": raw}
        self.task = asyncio.create_task(_routed(app)(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def chunks(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sent) < count + 1:
                await asyncio.sleep(0)
        return [message["body"] for message in self.sent[1:]]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    async def leave(self) -> None:
        self._left.set()
        await asyncio.wait_for(self.task, PATIENCE_S)


def event(number: int) -> dict[str, Any]:
    return {"id": f"b-{number}", "type": "state", "name": "chät"}


# How slots stand.


async def test_all_slots_and_one(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/slots")).json() == {"slots": [CHAT, ODD]}
    assert (await http.get("/api/slots/chat")).json() == CHAT
    assert (await http.get("/api/slots/my.slot:1")).json() == ODD


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/slots/nope"),
        ("GET", "/api/slots/nope/logs"),
        *(("POST", f"/api/slots/nope/{verb}") for verb in ("load", "unload", "pin", "unpin")),
    ],
)
async def test_an_unknown_slot_is_a_404_with_the_known_ones(
    http: httpx.AsyncClient, board: Board, method: str, path: str
) -> None:
    answer = await http.request(method, path)
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "slot_not_found", "slot")
    assert "chat, my.slot:1" in error["message"]
    assert board.calls == []


@pytest.mark.parametrize("path", ["/api/slots/chat/load", "/api/slots/chat/unload", "/api/slots/chat/pin"])
async def test_to_read_changes_nothing(http: httpx.AsyncClient, board: Board, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert board.calls == []


# What people ask for.


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("chat/load", ("load", "chat")),
        ("my.slot:1/load", ("load", "my.slot:1")),
        ("chat/unload", ("unload", "chat", False)),
        ("chat/pin", ("pin", "chat", True)),
        ("chat/unpin", ("pin", "chat", False)),
    ],
)
async def test_what_is_asked_reaches_the_board_and_answers_the_record(
    http: httpx.AsyncClient, board: Board, path: str, call: tuple[Any, ...]
) -> None:
    answer = await http.post(f"/api/slots/{path}")
    assert (answer.status_code, answer.json()) == (200, {"name": call[1], "state": "asked"})
    assert board.calls == [call]


@pytest.mark.parametrize(
    ("query", "force"), [("", False), ("?force=1", True), ("?force=TRUE", True), ("?force=yes", True)]
)
async def test_unload_may_be_forced(http: httpx.AsyncClient, board: Board, query: str, force: bool) -> None:
    await http.post(f"/api/slots/chat/unload{query}")
    assert board.calls == [("unload", "chat", force)]


@pytest.mark.parametrize("value", ["0", "false", "no", ""])
async def test_and_it_may_be_said_that_it_is_not(http: httpx.AsyncClient, board: Board, value: str) -> None:
    await http.post(f"/api/slots/chat/unload?force={value}")
    assert board.calls == [("unload", "chat", False)]


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("POST", "/api/slots/chat/unload?force=2", "force"),
        ("POST", f"/api/slots/chat/unload?force={'x' * 999}", "force"),
        ("GET", "/api/slots/chat/logs?follow=maybe", "follow"),
        ("GET", "/api/slots/chat/logs?lines=-1", "lines"),
        ("GET", "/api/slots/chat/logs?lines=ten", "lines"),
        ("GET", "/api/slots/chat/logs?lines=", "lines"),
        ("GET", "/api/slots/chat/logs?lines=²", "lines"),
        ("GET", "/api/slots/chat/logs?lines=10001", "lines"),
        ("GET", f"/api/slots/chat/logs?lines={'9' * 5000}", "lines"),
    ],
)
async def test_a_value_that_is_none_is_a_400(
    http: httpx.AsyncClient, board: Board, method: str, path: str, param: str
) -> None:
    answer = await http.request(method, path)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_value", param)
    assert len(error["message"]) < 200
    assert board.calls == []


# Events.


async def test_events_are_a_stream_of_numbered_json(app: Edge, board: Board) -> None:
    stream = Stream(app, "/api/slots/events")
    board.batches.put_nowait(Batch("b-2", (event(1), event(2))))
    [first] = await stream.chunks(1)
    assert stream.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert stream.headers[b"x-accel-buffering"] == b"no"
    blocks = first.decode().split("\n\n")
    assert blocks.pop() == ""
    for number, block in enumerate(blocks, start=1):
        name, data = block.split("\n")
        assert name == f"id: b-{number}"
        assert json.loads(data.removeprefix("data: ")) == event(number)
    assert len(blocks) == 2 and "chät" in first.decode()
    await stream.leave()


async def test_the_first_answer_comes_at_once_and_the_others_continue_it(app: Edge, board: Board) -> None:
    stream = Stream(app, "/api/slots/events")
    for batch in (Batch("b-1", (event(1),)), Batch("b-1", ()), Batch("b-2", (event(2),))):
        board.batches.put_nowait(batch)
    chunks = await stream.chunks(3)
    assert chunks[1] == KEEP_ALIVE, "nothing happens, and the connection lives"
    await stream.leave()
    long = slots_api.EVENT_WAIT_S
    assert board.calls[:3] == [("events", None, 0.0), ("events", "b-1", long), ("events", "b-1", long)]


@pytest.mark.parametrize(
    ("query", "headers", "cursor"),
    [
        ("", {"last_event_id": "b-7"}, "b-7"),
        ("last_event_id=b-8", {}, "b-8"),
        ("last_event_id=b-8", {"last_event_id": "b-7"}, "b-7"),
        ("", {"last_event_id": ""}, None),
    ],
)
async def test_a_watcher_that_comes_back_says_where_it_was(
    app: Edge, board: Board, query: str, headers: dict[str, str], cursor: str | None
) -> None:
    stream = Stream(app, "/api/slots/events", query, **headers)
    board.batches.put_nowait(Batch("b-9", (event(9),)))
    await stream.chunks(1)
    assert board.calls[0] == ("events", cursor, 0.0)
    await stream.leave()


# Logs.


async def test_the_last_lines_of_an_engine(http: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "logs/chat-0.log").write_text("".join(f"line {number} é\n" for number in range(300)))
    answer = await http.get("/api/slots/chat/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.splitlines() == [f"line {number} é" for number in range(100, 300)]
    assert (await http.get("/api/slots/chat/logs?lines=2")).text == "line 298 é\nline 299 é\n"
    assert (await http.get("/api/slots/chat/logs?lines=0")).text == ""
    assert (await http.get("/api/slots/chat/logs?lines=10000")).text.count("\n") == 300


async def test_an_engine_that_never_ran_has_written_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/slots/chat/logs")
    assert (answer.status_code, answer.text) == (200, "")


async def test_a_log_is_followed_until_the_client_leaves(
    app: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tail, "POLL_S", 0.001)
    log = tmp_path / "logs/chat-0.log"
    log.write_text("one\ntwo\n")
    stream = Stream(app, "/api/slots/chat/logs", "follow=1&lines=1")
    assert await stream.chunks(1) == [b"two\n"]
    with log.open("a") as more:
        more.write("three\n")
    assert await stream.chunks(2) == [b"two\n", b"three\n"]
    await stream.leave()
    assert stream.sent[-1].get("more_body"), "nothing more is sent to who has left"


# Through Serve.


class Remote:
    """A deployment handle: `handle.method.remote(...)`."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._board, name)
        return type("Method", (), {"remote": staticmethod(method)})


async def test_a_handle_is_a_board(board: Board) -> None:
    handle = BoardHandle(Remote(board))
    board.batches.put_nowait(Batch("b-1", ()))
    assert await handle.records() == [CHAT, ODD]
    assert (await handle.events_after("b-0", 3.0)).cursor == "b-1"
    for record in (await handle.load("chat"), await handle.unload("chat", True), await handle.pin("chat", False)):
        assert record["state"] == "asked"
    assert board.calls == [
        ("events", "b-0", 3.0),
        ("load", "chat"),
        ("unload", "chat", True),
        ("pin", "chat", False),
    ]
