"""The data path: real HTTP to engines that answer, fail and die when the test says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.types import Message

from providers.base import Endpoint, JsonObject, Route, Translation
from providers.capabilities import Capability, Operation
from providers.errors import EngineError
from providers.spec import SlotSpec
from serve_app.directory import SlotDirectory
from serve_app.engine_http import EngineHttp
from serve_app.errors import BadRequest, EngineDied, LoadFailed, QueueFull, RequestTimeout, ServingError
from serve_app.granted import Granted
from serve_app.http_io import ClientGone
from serve_app.lease_call import LeaseCall
from serve_app.leases import LeasePool
from serve_app.patience import Patience
from serve_app.relay import Relay

PATIENCE_S = 10.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Engine:
    """Answers each request by the next of `ways`; the last one goes on."""

    def __init__(self, *ways: Handler) -> None:
        self._ways = list(ways)
        self.bodies: list[bytes] = []
        self.tokens: list[str | None] = []
        self.gone = asyncio.Event()
        app = web.Application()
        app.router.add_post("/chat", self._answer)
        self._server = TestServer(app, skip_url_asserts=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.tokens.append(request.headers.get("Authorization"))
        way = self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]
        try:
            return await way(request)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise

    async def start(self) -> Endpoint:
        await self._server.start_server()
        return Endpoint(str(self._server.make_url("")).rstrip("/"), "s3cret")

    async def stop(self) -> None:
        await self._server.close()


async def answers(_: web.Request) -> web.StreamResponse:
    return web.json_response({"answer": 1})


async def refuses(_: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "bad"}, status=400)


async def dies(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def dies_within_its_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"answ')
    return await dies(request)


async def streams(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in (b"data: 1\n\n", b"data: [DONE]\n\n"):
        await response.write(event)
    return response


async def dies_within_its_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b'data: 1\n\ndata: {"cut')
    return await dies(request)


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def streams_for_ever(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(0.01)


class Call:
    """A lease on an engine, granted at once unless there is an error."""

    def __init__(self, granted: "asyncio.Future[Granted]") -> None:
        self._granted = granted
        self.over = asyncio.Event()
        self.replica: str | None = None

    async def __aiter__(self) -> AsyncIterator[Granted]:
        yield await asyncio.shield(self._granted)
        await self.over.wait()

    def let_go(self) -> None:
        pass

    def cancel(self) -> None:
        self.over.set()


class Directory:
    """One slot, with a route that shows what it is given."""

    def __init__(self, slot: SlotSpec, translation: Translation | None) -> None:
        self._slot, self._translation = slot, translation

    def find(self, name: object, operation: Operation) -> SlotSpec:
        if name != "chat":
            raise BadRequest(404, "no such model", "model_not_found", "model")
        return self._slot

    def route(self, slot: SlotSpec, operation: Operation) -> Route:
        translation = self._translation
        return Route("/chat", engine_error, translate=None if translation is None else lambda *_: translation)


def engine_error(status: int, body: bytes) -> EngineError:
    return EngineError(status, f"the engine says {json.loads(body)['error']}", "invalid_request_error", "bad")


class Bench:
    """A relay between a client and engines."""

    def __init__(self, http: EngineHttp, operation: Operation, translation: Translation | None, **more: Any):
        self.slot = SlotSpec(name="chat", provider="p", model="m", capabilities=(Capability.CHAT,), **more)
        self.engines: list[Engine] = []
        self.opened = 0
        self.suspects: list[str] = []
        self.load: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.load.set_result(None)
        self.pool = LeasePool(self.slot, self._open)
        self.wanted: list[str] = []
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self._tasks: set[asyncio.Task[Granted]] = set()
        view = {"name": "chat", "state": "warming", "progress": {"fraction": 0.5}}
        patience = Patience(0.01, lambda _: view, self._want)
        directory = cast(SlotDirectory, Directory(self.slot, translation))
        self.relay = Relay(operation, directory, {"chat": self.pool}, http, 10_000, patience)

    async def _want(self, slot: str) -> None:
        self.wanted.append(slot)

    def _open(self, suspect: str) -> LeaseCall:
        self.suspects.append(suspect)
        engine = self.engines[min(self.opened, len(self.engines) - 1)]
        self.opened += 1
        task = asyncio.create_task(self._grant(engine, f"r{self.opened}"))
        self._tasks.add(task)
        return Call(task)

    async def _grant(self, engine: Engine, replica: str) -> Granted:
        await asyncio.shield(self.load)
        return Granted(replica, await engine.start(), 2)

    def loading(self) -> "asyncio.Future[None]":
        self.load = asyncio.get_running_loop().create_future()
        return self.load

    async def ask(self, payload: JsonObject | None = None, **headers: str) -> list[Message]:
        body = json.dumps({"model": "chat"} | (payload or {})).encode()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}
        first: list[Message] = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            if first:
                return first.pop()
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await asyncio.wait_for(self.relay(scope, receive, send), PATIENCE_S)
        return self.sent

    async def failure(self, kind: type[ServingError], payload: JsonObject | None = None, **headers: str) -> Any:
        with pytest.raises(kind) as refused:
            await self.ask(payload, **headers)
        assert self.sent == []
        return refused.value

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def last_event(self) -> Any:
        return json.loads(self.body.rpartition(b"data: ")[2])

    async def close(self) -> None:
        await self.pool.close()
        if not self.load.done():
            self.load.set_result(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for engine in self.engines:
            await engine.stop()


MakeBench = Callable[..., Bench]
STREAM: JsonObject = {"stream": True}


@pytest.fixture
async def make() -> AsyncIterator[MakeBench]:
    made: list[Bench] = []
    http = EngineHttp()

    def bench(
        *engines: Handler,
        operation: Operation = Operation.CHAT,
        translation: Translation | None = None,
        **more: Any,
    ) -> Bench:
        made.append(Bench(http, operation, translation, **more))
        made[-1].engines = [Engine(way) for way in engines]
        return made[-1]

    yield bench
    for one in made:
        await one.close()
        assert one.pool.traffic.in_flight == one.pool.traffic.queued == 0
    http.close()


# Answers.


async def test_bytes_pass_untouched_with_the_engines_own_key(make: MakeBench) -> None:
    bench = make(answers)
    sent = await bench.ask({"odd": "ü", "nested": [1, None]})
    assert (sent[0]["status"], json.loads(bench.body)) == (200, {"answer": 1})
    [engine] = bench.engines
    assert engine.bodies == [json.dumps({"model": "chat", "odd": "ü", "nested": [1, None]}).encode()]
    assert engine.tokens == ["Bearer s3cret"]


async def test_a_stream_passes_as_it_comes(make: MakeBench) -> None:
    bench = make(streams)
    sent = await bench.ask(STREAM)
    assert bench.body == b"data: 1\n\ndata: [DONE]\n\n"
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert not sent[-1].get("more_body")


async def test_dialects_are_translated_both_ways(make: MakeBench) -> None:
    bench = make(answers, translation=Translation({"other": 1}, lambda answer: {"translated": answer}))
    await bench.ask()
    assert json.loads(bench.body) == {"translated": {"answer": 1}}
    assert bench.engines[0].bodies == [b'{"other":1}']


async def test_an_engines_error_is_put_into_our_terms(make: MakeBench) -> None:
    bench = make(refuses)
    with pytest.raises(EngineError, match="the engine says bad"):
        await bench.ask()
    assert bench.opened == 1, "it is not the engine that is wrong"


async def test_an_unknown_model_wakes_nothing(make: MakeBench) -> None:
    bench = make(answers)
    assert (await bench.failure(BadRequest, {"model": "other"})).code == "model_not_found"
    assert bench.opened == 0


# Engines that die.


@pytest.mark.parametrize("way", [dies, dies_within_its_answer])
async def test_a_request_whose_answer_has_not_begun_is_sent_once_more_to_a_fresh_engine(
    make: MakeBench, way: Handler
) -> None:
    bench = make(way, answers)
    await bench.ask({"n": 1})
    assert json.loads(bench.body) == {"answer": 1}
    assert [len(engine.bodies) for engine in bench.engines] == [1, 1]
    assert bench.engines[0].bodies == bench.engines[1].bodies
    assert bench.suspects == ["", "s3cret"], "the replica is told which engine did not answer"


async def test_but_only_once(make: MakeBench) -> None:
    bench = make(dies, dies, answers)
    assert (await bench.failure(EngineDied)).status == 502
    assert [len(engine.bodies) for engine in bench.engines] == [1, 1, 0]


async def test_a_stream_has_a_connection_of_its_own(make: MakeBench) -> None:
    """llama.cpp closes it after a stream, and a request that followed on it would be lost."""
    connections: list[str | None] = []

    async def notes(request: web.Request) -> web.StreamResponse:
        connections.append(request.headers.get("Connection"))
        return await (streams(request) if await request.json() == STREAM | {"model": "chat"} else answers(request))

    bench = make(notes)
    await bench.ask(STREAM)
    await bench.ask()
    assert connections == ["close", None]


async def test_a_stream_that_has_begun_ends_with_an_error_event(make: MakeBench) -> None:
    bench = make(dies_within_its_stream, streams)
    await bench.ask(STREAM)
    assert bench.body.startswith(b'data: 1\n\ndata: {"cut\n\ndata: ')
    assert bench.last_event["error"]["code"] == "engine_died"
    assert not bench.sent[-1].get("more_body")
    assert bench.engines[1].bodies == [], "half an answer is not begun again"


async def test_anthropics_clients_get_their_own_event(make: MakeBench) -> None:
    bench = make(dies_within_its_stream, operation=Operation.MESSAGES)
    await bench.ask(STREAM)
    assert b"\n\nevent: error\ndata: " in bench.body
    assert bench.last_event["type"] == "error"


async def test_a_stream_that_only_waited_is_sent_once_more(make: MakeBench) -> None:
    """Comments that kept its client company are no answer."""
    bench = make(dies, streams)
    load = bench.loading()
    asking = asyncio.create_task(bench.ask(STREAM))
    await until(lambda: len(bench.sent) > 2)
    load.set_result(None)
    await asking
    assert bench.body.endswith(b": keep-alive\n\ndata: 1\n\ndata: [DONE]\n\n")
    assert [message["status"] for message in bench.sent if "status" in message] == [200]


# Waiting.


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_load_that_takes_too_long_in_a_stream_that_has_begun_is_its_last_event(make: MakeBench) -> None:
    bench = make(answers, load_wait_s=0.05)
    bench.loading()
    await bench.ask(STREAM)
    assert b": keep-alive\n\n" in bench.body
    assert (bench.last_event["error"]["code"], bench.last_event["loading"]["state"]) == ("model_loading", "warming")
    assert bench.wanted == ["chat"] and bench.pool.traffic.queued == 0


async def test_an_error_of_an_engine_after_comments_is_an_event(make: MakeBench) -> None:
    bench = make(refuses)
    load = bench.loading()
    asking = asyncio.create_task(bench.ask(STREAM))
    await until(lambda: len(bench.sent) > 1)
    load.set_result(None)
    await asking
    assert bench.last_event["error"]["message"] == "the engine says bad"


async def test_a_whole_answer_after_comments_is_an_event(make: MakeBench) -> None:
    bench = make(answers)
    load = bench.loading()
    asking = asyncio.create_task(bench.ask(STREAM))
    await until(lambda: len(bench.sent) > 1)
    load.set_result(None)
    await asking
    assert bench.last_event == {"answer": 1}


@pytest.mark.parametrize(
    ("operation", "payload", "configured", "shown"),
    [
        (Operation.CHAT, STREAM, True, b"reasoning_content"),
        (Operation.CHAT, STREAM, False, b": keep-alive"),
        (Operation.COMPLETION, STREAM, True, b": keep-alive"),
        (Operation.MESSAGES, STREAM, True, b": keep-alive"),
        (Operation.CHAT, {"stream": "yes"}, True, None),
        (Operation.CHAT, {}, True, None),
        (Operation.EMBEDDINGS, STREAM, True, None),
    ],
)
async def test_who_hears_what_while_it_loads(
    make: MakeBench, operation: Operation, payload: JsonObject, configured: bool, shown: bytes | None
) -> None:
    bench = make(answers, operation=operation, progress_as_reasoning=configured, load_wait_s=0.05)
    bench.loading()
    if shown is None:
        assert (await bench.failure(ServingError, payload)).code == "model_loading"
    else:
        await bench.ask(payload)
        assert bench.sent[1]["body"].find(shown) >= 0


async def test_a_failed_load_is_told_as_it_is(make: MakeBench) -> None:
    bench = make(answers)
    bench.loading().set_exception(LoadFailed("chat", "engine_exited", "it fell"))
    assert (await bench.failure(LoadFailed)).code == "engine_exited"


async def test_one_request_too_many_is_refused(make: MakeBench) -> None:
    bench = make(answers, max_queued=1)
    load = bench.loading()
    waiting = asyncio.create_task(bench.ask())
    await until(lambda: bench.pool.traffic.queued)
    assert (await bench.failure(QueueFull)).status == 429
    load.set_result(None)
    await waiting


@pytest.mark.parametrize(("text", "priority"), [("7", 7), ("-100", -100), ("100", 100)])
async def test_a_request_may_say_how_important_it_is(make: MakeBench, text: str, priority: int) -> None:
    bench = make(answers, priority=3)
    load = bench.loading()
    asking = asyncio.create_task(bench.ask(x_hal0_priority=text))
    await until(lambda: bench.pool.traffic.queued)
    assert bench.pool.traffic.priority == priority
    load.set_result(None)
    await asking


@pytest.mark.parametrize("text", ["", "high", "1.5", "101", "-101", "9" * 5000])
async def test_a_priority_that_is_none_is_refused(make: MakeBench, text: str) -> None:
    bench = make(answers)
    error = await bench.failure(BadRequest, x_hal0_priority=text)
    assert (error.status, error.code, error.param) == (400, "invalid_priority", "x-hal0-priority")
    assert bench.opened == 0 and len(str(error)) < 200


# Requests that end early.


async def test_a_request_that_takes_too_long_is_ended_and_so_is_its_engines_work(make: MakeBench) -> None:
    bench = make(hangs, request_timeout_s=0.2)
    assert (await bench.failure(RequestTimeout)).status == 504
    await asyncio.wait_for(bench.engines[0].gone.wait(), PATIENCE_S)


async def test_to_wait_counts(make: MakeBench) -> None:
    bench = make(answers, request_timeout_s=0.05)
    bench.loading()
    await bench.failure(RequestTimeout)
    assert bench.pool.traffic.queued == 0


async def test_a_stream_that_takes_too_long_ends_with_an_event(make: MakeBench) -> None:
    bench = make(streams_for_ever, request_timeout_s=0.2)
    await bench.ask(STREAM)
    assert bench.body.startswith(b"data: 1\n\n")
    assert bench.last_event["error"]["code"] == "request_timeout"
    await asyncio.wait_for(bench.engines[0].gone.wait(), PATIENCE_S)


@pytest.mark.parametrize("way", [hangs, streams_for_ever])
async def test_a_client_that_leaves_ends_the_engines_work(make: MakeBench, way: Handler) -> None:
    bench = make(way)
    asking = asyncio.create_task(bench.ask(STREAM))
    await until(lambda: bench.opened and bench.engines[0].bodies)
    bench.left.set()
    with pytest.raises(ClientGone):
        await asking
    await asyncio.wait_for(bench.engines[0].gone.wait(), PATIENCE_S)


async def test_a_client_that_leaves_while_it_waits_stops_the_load(make: MakeBench) -> None:
    bench = make(answers)
    bench.loading()
    asking = asyncio.create_task(bench.ask())
    await until(lambda: bench.pool.traffic.queued)
    bench.left.set()
    with pytest.raises(ClientGone):
        await asking
    assert bench.pool.traffic.queued == 0 and bench.engines[0].bodies == []
