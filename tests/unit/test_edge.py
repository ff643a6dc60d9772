"""The outermost layer: one envelope for every error, and a line in the access log for every request."""

import asyncio
import datetime
import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from providers.errors import EngineError, InvalidRequest, ProviderError
from serve_app.access_log import AccessLog
from serve_app.edge import Edge
from serve_app.errors import (
    BadRequest,
    EngineDied,
    LoadFailed,
    MethodNotAllowed,
    QueueFull,
    SlotUnplaceable,
    StillLoading,
)
from serve_app.http_io import ClientGone, send_start, send_whole
from serve_app.security import Door, Keys

ERRORS: list[tuple[Exception, int, str, str | None]] = [
    (BadRequest(413, "big", "request_too_large"), 413, "invalid_request_error", "request_too_large"),
    (InvalidRequest("wrong", "n", "bad_n"), 400, "invalid_request_error", "bad_n"),
    (EngineError(429, "busy", "rate_limit_error", "busy"), 429, "rate_limit_error", "busy"),
    (LoadFailed("chat", "engine_exited", "it fell"), 503, "server_error", "engine_exited"),
    (SlotUnplaceable("chat", "no GPU"), 503, "server_error", "no_node_for_slot"),
    (EngineDied("chat", "it fell"), 502, "server_error", "engine_died"),
    (QueueFull("chat", 2), 429, "rate_limit_error", "queue_full"),
    (ProviderError("no program"), 503, "server_error", "engine_misconfigured"),
    (HTTPException(404), 404, "invalid_request_error", "no_route"),
    (MethodNotAllowed(("GET",)), 405, "invalid_request_error", "method_not_allowed"),
    (HTTPException(418, "tea"), 418, "invalid_request_error", None),
    (ZeroDivisionError("secret inside"), 500, "server_error", "internal_error"),
]


class App:
    def __init__(self, error: Exception | None = None, begun: bool = False) -> None:
        self.error, self.begun, self.called = error, begun, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called = True
        if self.begun:
            await send_start(send, 200, [])
        if self.error is not None:
            raise self.error
        await send_whole(send, 200, [], b"ok")


async def receive() -> Message:
    return {"type": "http.request"}


async def ask(
    app: ASGIApp,
    keys: Keys = Keys(()),  # noqa: B008
    path: str = "/v1/models",
    client: str = "127.0.0.1",
    method: str = "GET",
    access: AccessLog | None = None,
    **more: Any,
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "app": app,  # else Starlette answers for itself
        "method": method,
        "path": path,
        "client": (client, 1),
        "headers": [(b"x-request-id", b"r")],
    }
    await Edge(app, keys, Door(keys, False, frozenset()), access, **more)(scope, receive, send)
    return sent


class Lines(AccessLog):
    """What the access log wrote."""

    def __init__(self) -> None:
        self.written: list[str] = []
        super().__init__(self.written.append)

    @property
    def last(self) -> Any:
        self.flush()
        return json.loads(self.written[-1].splitlines()[-1])


def body_of(sent: list[Message]) -> Any:
    return json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def test_an_answer_passes() -> None:
    sent = await ask(App())
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"ok")


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_every_error_has_the_same_envelope(error: Exception, status: int, kind: str, code: str | None) -> None:
    sent = await ask(App(error))
    assert sent[0]["status"] == status
    assert body_of(sent)["error"].keys() == {"message", "type", "param", "code"}
    assert (body_of(sent)["error"]["type"], body_of(sent)["error"]["code"]) == (kind, code)
    assert "secret inside" not in str(body_of(sent))


async def test_a_load_that_takes_long_is_told_with_how_far_it_is() -> None:
    sent = await ask(App(StillLoading("chat", {"model": "chat", "state": "pulling", "progress": 0.5}, 120, 12.4)))
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"retry-after"]) == (503, b"12")
    assert body_of(sent).keys() == {"error", "loading"}
    assert body_of(sent)["error"]["code"] == "model_loading"
    assert body_of(sent)["loading"] == {"model": "chat", "state": "pulling", "progress": 0.5}


async def test_methods_that_a_path_takes_are_told_though_each_has_a_route_of_its_own() -> None:
    async def nothing(_: Request) -> Response:
        return Response()

    routes = [
        Route("/v1/voices", nothing),
        Route("/v1/voices", nothing, methods=["POST"]),
        Route("/v1/{name}", nothing),
    ]
    sent = await ask(Router([*routes, Route("/v1/other", nothing)]), path="/v1/voices", method="PUT")
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"allow"]) == (405, b"GET, HEAD, POST")
    assert body_of(sent)["error"]["message"].endswith("allowed: GET, HEAD, POST.")


async def test_anthropics_clients_get_theirs() -> None:
    sent = await ask(App(SlotUnplaceable("chat", "no GPU")), path="/v1/messages")
    assert body_of(sent)["type"] == "error"
    assert body_of(sent)["error"].keys() == {"type", "message"}


@pytest.mark.parametrize(("error", "logged"), [(ZeroDivisionError(), 1), (EngineDied("chat", "it fell"), 0)])
async def test_only_what_nobody_foresaw_is_logged_in_full(
    caplog: pytest.LogCaptureFixture, error: Exception, logged: int
) -> None:
    await ask(App(error))
    assert len([record for record in caplog.records if record.exc_info]) == logged


@pytest.mark.parametrize("error", [ZeroDivisionError(), EngineDied("chat", "it fell")])
async def test_an_answer_that_has_begun_is_broken_off(error: Exception) -> None:
    with pytest.raises(type(error)):
        await ask(App(error, begun=True))


@pytest.mark.parametrize(("begun", "status"), [(False, 499), (True, 200)])
async def test_a_client_that_left_is_answered_nothing(begun: bool, status: int) -> None:
    lines = Lines()
    sent = await ask(App(ClientGone(), begun), access=lines)
    assert len(sent) == begun
    assert lines.last["status"] == status


async def test_strangers_do_not_reach_the_application() -> None:
    for keys, client, status in [(Keys(("k",)), "127.0.0.1", 401), (Keys(()), "192.0.2.9", 403)]:
        app = App()
        sent = await ask(app, keys, client=client)
        assert (sent[0]["status"], app.called) == (status, False)


async def test_the_access_log_has_no_secrets() -> None:
    lines = Lines()
    await ask(App(), access=lines)
    record = lines.last
    assert set(record) == {
        *("time", "level", "logger", "message"),
        *("request_id", "method", "path", "slot", "status", "ms"),
    }
    assert (record["request_id"], record["path"], record["status"]) == ("r", "/v1/models", 200)
    assert datetime.datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S%z")


async def test_the_access_log_writes_in_batches_by_itself() -> None:
    lines = Lines()
    for path in ("/a", '/odd"\n\udc80'):
        await ask(App(), path=path, access=lines)
    assert lines.written == []
    async with asyncio.timeout(10):
        while not lines.written:
            await asyncio.sleep(0.01)
    assert [json.loads(line)["path"] for line in lines.written[0].splitlines()] == ["/a", '/odd"\n\udc80']


async def test_without_serves_proxies_requests_get_their_ids_here() -> None:
    assert dict((await ask(App(), makes_request_ids=True))[0]["headers"])[b"x-request-id"] == b"r"
    given: list[Message] = []

    async def send(message: Message) -> None:
        given.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "client": ("127.0.0.1", 1), "headers": []}
    edge = Edge(App(), Keys(()), Door(Keys(()), False, frozenset()), makes_request_ids=True)
    for _ in range(2):
        await edge(scope, receive, send)
    ids = [dict(message["headers"])[b"x-request-id"] for message in given if "headers" in message]
    assert len(set(ids)) == 2 and all(ids)


# WebSockets.


class Session:
    """An application that accepts, and then does `then`."""

    def __init__(self, error: Exception | None = None, then: Exception | None = None) -> None:
        self.error, self.then, self.called = error, then, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called = True
        if self.error is not None:
            raise self.error
        await send({"type": "websocket.accept"})
        if self.then is not None:
            raise self.then
        await send({"type": "websocket.close", "code": 1000})


async def no_route(scope: Scope, receive: Receive, send: Send) -> None:
    """As Starlette's router does."""
    await send({"type": "websocket.close", "code": 1000})


async def open_socket(
    app: ASGIApp,
    keys: Keys = Keys(()),  # noqa: B008
    headers: dict[str, str] | None = None,
    can_refuse: bool = True,
    access: AccessLog | None = None,
    **scope: Any,
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    whole = {"type": "websocket", "path": "/v1/realtime", "client": ("127.0.0.1", 1), "headers": raw, **scope}
    if can_refuse:
        whole["extensions"] = {"websocket.http.response": {}}
    await Edge(app, keys, Door(keys, False, frozenset()), access)(whole, receive, send)
    return sent


async def test_a_session_passes_and_is_one_line_of_the_log() -> None:
    lines = Lines()
    sent = await open_socket(Session(), headers={"x-request-id": "r"}, access=lines)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    record = lines.last
    assert (record["method"], record["status"], record["request_id"]) == ("WS", 101, "r")


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS, ids=lambda value: type(value).__name__)
async def test_what_is_wrong_before_a_session_is_answered_as_http(
    error: Exception, status: int, kind: str, code: str | None
) -> None:
    sent = await open_socket(Session(error))
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == status
    assert body_of(sent)["error"].keys() == {"message", "type", "param", "code"}
    assert (body_of(sent)["error"]["type"], body_of(sent)["error"]["code"]) == (kind, code)
    assert "secret inside" not in str(body_of(sent))


@pytest.mark.parametrize(("error", "code"), [(BadRequest(400, "no"), 1008), (ZeroDivisionError(), 1011)])
async def test_a_server_that_cannot_answer_so_closes(error: Exception, code: int) -> None:
    lines = Lines()
    assert await open_socket(Session(error), can_refuse=False, access=lines) == [
        {"type": "websocket.close", "code": code, "reason": ""}
    ]
    assert lines.last["status"] in (400, 500)


async def test_a_session_that_fails_is_closed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    sent = await open_socket(Session(then=ZeroDivisionError("secret inside")))
    assert sent[-1] == {"type": "websocket.close", "code": 1011, "reason": ""}
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_socket_where_there_is_none_is_not_found() -> None:
    sent = await open_socket(no_route)
    assert (sent[0]["status"], body_of(sent)["error"]["code"]) == (404, "no_route")


async def test_strangers_open_no_session() -> None:
    cases: list[tuple[Keys, dict[str, Any], int]] = [
        (Keys(("k",)), {}, 401),
        (Keys(("k",)), {"subprotocols": ["realtime", "openai-insecure-api-key.no"]}, 401),
        (Keys(()), {"client": ("192.0.2.9", 1)}, 403),
        (Keys(()), {"headers": {"origin": "https://evil.example"}}, 403),
    ]
    for keys, more, status in cases:
        app = Session()
        sent = await open_socket(app, keys, **more)
        assert (sent[0]["status"], app.called) == (status, False)


async def test_friends_do() -> None:
    cases: list[tuple[Keys, dict[str, Any]]] = [
        (Keys(("k",)), {"headers": {"authorization": "Bearer k", "origin": "https://elsewhere.example"}}),
        (Keys(("k",)), {"subprotocols": ["realtime", "openai-insecure-api-key.k"]}),
        (Keys(()), {"headers": {"origin": "http://localhost:3000"}}),
    ]
    for keys, more in cases:
        app = Session()
        await open_socket(app, keys, **more)
        assert app.called


async def test_a_client_that_left_meanwhile_is_told_nothing() -> None:
    lines = Lines()
    assert await open_socket(Session(ClientGone()), access=lines) == []
    assert lines.last["status"] == 499


async def test_what_is_neither_passes_unseen() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def send(message: Message) -> None:
        raise AssertionError

    await Edge(app, Keys(("k",)), Door(Keys(()), False, frozenset()))({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
