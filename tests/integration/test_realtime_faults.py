"""Realtime sessions when something is wrong: clients that send nonsense, stop reading or vanish; engines that die."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from providers.asr.messages import Committed, Done, Failed, Final, Partial, SpeechStarted
from providers.asr.recognizer import Segment
from serve_app.audio import live_conversation, realtime
from serve_app.audio.realtime_session import Limits
from serve_app.errors import LoadFailed
from serve_app.security import Keys
from tests.support.realtime_bench import KEY, RealtimeBench, SlotBench, asr_slot, realtime_bench
from tests.support.realtime_engine import PATIENCE_S, TOKEN, ScriptedEngine, until
from tests.support.server import free_port

SECOND = bytes(48_000)
FAILED = "conversation.item.input_audio_transcription.failed"


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def bench(engine: ScriptedEngine) -> AsyncIterator[RealtimeBench]:
    async with realtime_bench(SlotBench(asr_slot(), [engine])) as bench:
        yield bench


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def next_event(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))


async def event_of(socket: ClientConnection, kind: str) -> Any:
    """The next event, which is of this kind."""
    event = await next_event(socket)
    assert event["type"] == kind, event
    return event


def appended(pcm: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})


def updated(**session: Any) -> str:
    return json.dumps({"type": "session.update", "event_id": "mine", "session": session})


# What clients send.

BAD_EVENTS: list[tuple[str | bytes, str, str | None]] = [
    ("{", "invalid_json", None),
    ("[]", "invalid_json", None),
    ('{"type": "input_audio_buffer.append", "audio": "\\ud800"}', "invalid_json", None),
    ("[" * 100_000, "invalid_json", None),
    (b"\x00\x01", "binary_message", None),
    ("{}", "missing_required_parameter", "type"),
    ('{"type": 5}', "invalid_value", "type"),
    ('{"type": "input_audio_buffer.eat"}', "invalid_value", "type"),
    ('{"type": "input_audio_buffer.commit", "event_id": 7}', "invalid_type", "event_id"),
    ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty", None),
    ('{"type": "input_audio_buffer.commit", "more": 1}', "unknown_parameter", "more"),
    ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
    ('{"type": "input_audio_buffer.append", "audio": null}', "invalid_type", "audio"),
    ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_value", "audio"),
    ('{"type": "input_audio_buffer.append", "audio": "AA A"}', "invalid_value", "audio"),
    ('{"type": "input_audio_buffer.append", "audio": "\\u00fc"}', "invalid_value", "audio"),
    (appended(b"\0"), "invalid_value", "audio"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (15 * 2**20 + 4)}), "audio_too_large", "audio"),
    ('{"type": "response.create"}', "unsupported_event", "type"),
    ('{"type": "conversation.item.create", "item": {}}', "unsupported_event", "type"),
    ('{"type": "session.update"}', "missing_required_parameter", "session"),
    (updated(type="realtime"), "invalid_value", "session.type"),
    (updated(type="transcription", voice="alloy"), "unknown_parameter", "session.voice"),
    (
        updated(type="transcription", audio={"input": {"transcription": {"model": "nose"}}}),
        "model_not_found",
        "session.audio.input.transcription.model",
    ),
    (
        updated(type="transcription", audio={"input": {"transcription": {"language": "de"}}}),
        "unsupported_language",
        "session.audio.input.transcription.language",
    ),
    (
        updated(type="transcription", audio={"input": {"transcription": {"keywords": ["hal"]}}}),
        "unsupported_keywords",
        "session.audio.input.transcription.keywords",
    ),
    (
        '{"type": "transcription_session.update", "session": {"input_audio_transcription": {"language": "de"}}}',
        "unsupported_language",
        "session.input_audio_transcription.language",
    ),
]


async def test_bad_events_are_told_and_end_nothing(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with connect(bench.url, additional_headers=bearer(), compression=None) as socket:
        created = await event_of(socket, "session.created")
        for message, code, param in BAD_EVENTS:
            await socket.send(message)
            error = (await event_of(socket, "error"))["error"]
            assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error"), error
            assert "Traceback" not in error["message"] and len(error["message"]) < 1000
            assert error["event_id"] == ("mine" if str(message).find('"mine"') >= 0 else None)
        await socket.send(updated(type="transcription"))
        unchanged = (await event_of(socket, "session.updated"))["session"]
        assert unchanged == created["session"]
        assert not engine.sessions or not engine.sessions[0].audio


async def test_the_beta_dialect_is_answered_in_kind(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    settings = {"input_audio_format": "g711_ulaw", "input_audio_transcription": {"model": "ears", "language": ""}}
    async with connect(bench.url, additional_headers=bearer()) as socket:
        await event_of(socket, "session.created")
        for change in ({"session": settings}, settings):
            await socket.send(json.dumps({"type": "transcription_session.update", **change, "event_id": "e"}))
            session = (await event_of(socket, "transcription_session.updated"))["session"]
            assert session["input_audio_format"] == "g711_ulaw"
            assert session["turn_detection"]["type"] == "server_vad"
        await socket.send(appended(bytes(8000)))
        told = await engine.session()
        await told.has(1.0)
        await told.say(Committed(utterance=0, start_s=0, end_s=1))
        await event_of(socket, "input_audio_buffer.committed")
        await event_of(socket, "conversation.item.created")


async def test_no_other_intent_is_served(bench: RealtimeBench) -> None:
    for query, status, code in [
        ("?intent=conversation", 400, "unsupported_intent"),
        ("?model=nose", 404, "model_not_found"),
    ]:
        assert await refusal(bench.url + query, bearer()) == (status, code)


async def test_the_model_is_fixed_once_audio_has_come() -> None:
    ears, nose = ScriptedEngine(), ScriptedEngine()
    slots = SlotBench(asr_slot(), [ears]), SlotBench(asr_slot("nose"), [nose])
    async with realtime_bench(*slots) as bench, bench.client(model="nose") as client:
        await client.set(transcription={"prompt": "x"})
        await nose.session()
        assert (await client.set(transcription={"model": "ears"})).session.audio.input.transcription.model == "ears"
        await client.say(SECOND)
        await (await ears.session()).has(1.0)
        await until(lambda: bench.slots["nose"].in_use == 0)
        refused = await client.set(transcription={"model": "nose"})
        assert refused.error.code == "model_fixed"
        assert (await client.set(transcription=None)).error.code == "model_fixed"
        assert (await client.set(turn_detection=None)).session.audio.input.transcription.model == "ears"


# Who may come in.


async def refusal(url: str, headers: dict[str, str], **more: Any) -> tuple[int, str]:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        async with connect(url, additional_headers=headers, **more):
            pass
    answer = refused.value.response
    assert answer.headers["Content-Type"] == "application/json"
    error = json.loads(answer.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


async def test_strangers_are_refused_with_a_reason(bench: RealtimeBench) -> None:
    assert await refusal(bench.url, {}) == (401, "no_api_key")
    assert await refusal(bench.url, bearer("wrong")) == (401, "invalid_api_key")
    offered: Any = ["realtime", "openai-insecure-api-key.wrong"]
    assert await refusal(bench.url, {}, subprotocols=offered) == (401, "invalid_api_key")
    assert await refusal(bench.url + "s", bearer()) == (404, "no_route")


async def test_a_browser_offers_its_key_as_a_subprotocol(bench: RealtimeBench) -> None:
    offered: Any = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with connect(bench.url, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        await event_of(socket, "session.created")


async def test_without_keys_no_page_of_another_machine_may_listen() -> None:
    async with realtime_bench(SlotBench(asr_slot(), [ScriptedEngine()]), keys=Keys(())) as bench:
        assert await refusal(bench.url, {"Origin": "https://evil.example"}) == (403, "this_machine_only")
        async with connect(bench.url, additional_headers={"Origin": "http://localhost:3000"}) as socket:
            await event_of(socket, "session.created")


# Slots that load, and engines that fail.


async def test_audio_waits_for_the_slot_to_load(engine: ScriptedEngine) -> None:
    slot = SlotBench(asr_slot(), [engine])
    slot.load.clear()
    async with realtime_bench(slot) as bench, bench.client() as client:
        for _ in range(5):
            await client.say(SECOND)
        await client.connection.input_audio_buffer.commit()
        await until(lambda: slot.pool.traffic.queued == 1)
        slot.load.set()
        session = await engine.session()
        await session.has(5.0)
        await session.is_told(1)


@pytest.mark.parametrize("leaves", ["politely", "abruptly"])
async def test_a_client_that_leaves_while_the_slot_loads_waits_no_more(engine: ScriptedEngine, leaves: str) -> None:
    slot = SlotBench(asr_slot(), [engine])
    slot.load.clear()
    async with realtime_bench(slot) as bench, connect(bench.url, additional_headers=bearer()) as socket:
        await event_of(socket, "session.created")
        await socket.send(appended(SECOND))
        await until(lambda: slot.pool.traffic.queued == 1)
        if leaves == "abruptly":
            socket.transport.abort()
        else:
            await socket.close()
        await until(lambda: slot.in_use == 0)
        slot.load.set()
    assert engine.sessions == []


async def test_a_client_that_leaves_frees_the_engine(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with connect(bench.url, additional_headers=bearer()) as socket:
        await event_of(socket, "session.created")
        await socket.send(appended(SECOND))
        session = await engine.session()
        await session.has(1.0)
        socket.transport.abort()
        await asyncio.wait_for(session.over.wait(), PATIENCE_S)
    assert bench.slots["ears"].in_use == 0


async def test_a_slot_that_cannot_load_is_told_each_time(engine: ScriptedEngine) -> None:
    slot = SlotBench(asr_slot(), [engine], failure=LoadFailed("ears", "model_missing", "there is no such file"))
    async with realtime_bench(slot) as bench, bench.client() as client:
        for _ in range(2):
            await client.say(SECOND)
            error = await client.error()
            assert (error.code, error.type) == ("model_missing", "server_error")
        slot.failure = None
        await client.say(SECOND)
        await (await engine.session()).has(1.0)


async def test_a_slot_that_hears_as_many_as_it_can_says_so(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "TURN_S", 0.2)
    slot = SlotBench(asr_slot(), [engine], capacity=1)
    async with realtime_bench(slot) as bench, bench.client() as waits:
        async with bench.client() as speaks:
            await speaks.say(SECOND)
            await (await engine.session()).has(1.0)
            await waits.say(SECOND)
            error = await waits.error()
            assert (error.code, error.type, error.param) == ("slot_busy", "rate_limit_error", "model")
        await until(lambda: slot.in_use == 0)
        await waits.say(SECOND)
        await (await engine.session(1)).has(1.0)


@pytest.mark.parametrize("way", ["die", "leave"])
async def test_an_engine_that_goes_away_takes_only_its_utterances_along(way: str) -> None:
    first, second = ScriptedEngine(), ScriptedEngine()
    slot = SlotBench(asr_slot(), [first, second])
    async with realtime_bench(slot) as bench, bench.client() as client:
        await client.say(SECOND)
        session = await first.session()
        await session.has(1.0)
        await session.say(Committed(utterance=0, start_s=0, end_s=0.4), SpeechStarted(utterance=1, at_s=0.5))
        committed, _, _, started = await client.events(4)
        if way == "die":
            session.die()
        else:
            await session.leave()
        lost = await client.events(3)
        assert [(event.type, event.item_id) for event in lost[:2]] == [
            (FAILED, committed.item_id),
            (FAILED, started.item_id),
        ]
        assert (lost[0].error.code, lost[2].error.code) == ("engine_died", "engine_died")
        assert slot.in_use == 0
        await client.say(SECOND)
        again = await second.session()
        await again.has(1.0)
        await again.say(SpeechStarted(utterance=0, at_s=0.25), Committed(utterance=0, start_s=0.25, end_s=0.5))
        events = await client.events(2)
        assert events[0].audio_start_ms == 1250
        assert events[1].previous_item_id == committed.item_id
    assert slot.suspects == ["", "s3cret"]


async def test_an_engine_that_cannot_be_reached_is_replaced_unnoticed() -> None:
    class Unreachable(ScriptedEngine):
        async def start(self) -> Any:
            endpoint = await super().start()
            return type(endpoint)(f"http://127.0.0.1:{free_port()}", endpoint.token)

    engine = ScriptedEngine()
    slot = SlotBench(asr_slot(), [Unreachable(), engine])
    async with realtime_bench(slot) as bench, bench.client() as client:
        await client.say(SECOND)
        await (await engine.session()).has(1.0)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "engine_died", "server_error"),
        (503, "slot_busy", "rate_limit_error"),
        (500, "engine_died", "server_error"),
    ],
)
async def test_an_engine_that_refuses_is_told_once_another_has_refused_too(status: int, code: str, kind: str) -> None:
    first, second = ScriptedEngine(), ScriptedEngine()
    first.refusing = second.refusing = status
    slot = SlotBench(asr_slot(), [first, second])
    async with realtime_bench(slot) as bench, bench.client() as client:
        await client.say(SECOND)
        error = await client.error()
        assert (error.code, error.type) == (code, kind)
        assert slot.suspects == ["", TOKEN]
        second.refusing = None
        await client.say(SECOND)
        await (await second.session()).has(1.0)


async def test_an_engine_that_refuses_is_replaced_unnoticed() -> None:
    first, second = ScriptedEngine(), ScriptedEngine()
    first.refusing = 503
    async with realtime_bench(SlotBench(asr_slot(), [first, second])) as bench, bench.client() as client:
        await client.say(SECOND)
        await (await second.session()).has(1.0)


@pytest.mark.parametrize(
    ("nonsense", "code"),
    [
        ("not json", "engine_died"),
        (Done(duration_s=1).model_dump_json(), "engine_died"),
        (Failed(message="too hot", status=503, code="hot").model_dump_json(), "hot"),
    ],
)
async def test_an_engine_that_ends_its_session_does_not_end_the_clients(
    bench: RealtimeBench, engine: ScriptedEngine, nonsense: str, code: str
) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.babble(nonsense)
        assert (await client.error()).code == code
        await asyncio.wait_for(session.over.wait(), PATIENCE_S)
        await client.say(SECOND)
        await (await engine.session(1)).has(1.0)


async def test_nobody_is_shown_our_own_mistakes(
    bench: RealtimeBench, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret inside")

    async with connect(bench.url, additional_headers=bearer()) as socket:
        await event_of(socket, "session.created")
        await socket.send(appended(SECOND))
        session = await engine.session()
        monkeypatch.setattr("serve_app.audio.realtime_items.joined", broken)
        await session.say(Final(utterance=0, segments=(Segment("x", 0, 1),)))
        error = (await event_of(socket, "error"))["error"]
        assert (error["code"], error["type"]) == ("internal_error", "server_error")
        assert "secret" not in json.dumps(error)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            await next_event(socket)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
    assert any(record.exc_info for record in caplog.records)


# Limits.


async def test_a_silent_client_is_sent_home(engine: ScriptedEngine) -> None:
    async with realtime_bench(SlotBench(asr_slot(), [engine]), limits=Limits(idle_s=0.2)) as bench:
        async with connect(bench.url, additional_headers=bearer()) as socket:
            await event_of(socket, "session.created")
            await socket.send(appended(SECOND))
            session = await engine.session()
            await session.has(1.0)
            assert (await event_of(socket, "error"))["error"]["code"] == "session_idle"
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                await next_event(socket)
        await asyncio.wait_for(session.over.wait(), PATIENCE_S)


async def test_a_client_that_waits_for_its_text_is_not_idle(engine: ScriptedEngine) -> None:
    async with (
        realtime_bench(SlotBench(asr_slot(), [engine]), limits=Limits(idle_s=0.1)) as bench,
        connect(bench.url, additional_headers=bearer()) as socket,
    ):
        await event_of(socket, "session.created")
        await socket.send(appended(SECOND))
        session = await engine.session()
        await session.say(Committed(utterance=0, start_s=0, end_s=1))
        for kind in ("input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"):
            await event_of(socket, kind)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.5)
        await session.say(Final(utterance=0, segments=()))
        await event_of(socket, "conversation.item.input_audio_transcription.completed")
        assert (await event_of(socket, "error"))["error"]["code"] == "session_idle"


async def test_no_session_lasts_for_ever(engine: ScriptedEngine) -> None:
    limits = Limits(session_s=0.3)
    async with (
        realtime_bench(SlotBench(asr_slot(), [engine]), limits=limits) as bench,
        connect(bench.url, additional_headers=bearer()) as socket,
    ):
        await event_of(socket, "session.created")
        assert (await event_of(socket, "error"))["error"]["code"] == "session_expired"


async def test_a_client_that_does_not_read_is_given_up(engine: ScriptedEngine) -> None:
    async with (
        realtime_bench(SlotBench(asr_slot(), [engine]), limits=Limits(send_s=0.3)) as bench,
        connect(bench.url, additional_headers=bearer(), compression=None, max_queue=1) as socket,
    ):
        await event_of(socket, "session.created")
        await socket.send(appended(SECOND))
        session = await engine.session()
        await session.has(1.0)
        talking = asyncio.create_task(talk_on(session.say))
        try:
            await asyncio.wait_for(session.over.wait(), PATIENCE_S)
            await until(lambda: bench.slots["ears"].in_use == 0)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            socket.transport.abort()


async def talk_on(say: Any) -> None:
    text = "word " * 20_000
    for number in range(1_000):
        await say(Final(utterance=number, segments=(Segment(text, 0, 1),)))


async def test_a_busy_engine_holds_back_its_client(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_conversation, "WAITING_S", 20.0)
    async with realtime_bench(SlotBench(asr_slot(), [engine])) as bench, bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.has(1.0)
        session.reading.clear()
        sending = asyncio.create_task(say_much(client.say))
        await asyncio.sleep(1.0)
        assert not sending.done()
        session.reading.set()
        await asyncio.wait_for(sending, PATIENCE_S * 3)
        await until(lambda: session.seconds > 600.9)


async def say_much(say: Any) -> None:
    """Ten minutes."""
    for _ in range(60):
        await say(SECOND * 10)


async def test_audio_for_a_slot_that_never_loads_is_refused_in_the_end(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_conversation, "WAITING_S", 2.0)
    monkeypatch.setattr(live_conversation, "MOST_WAITING_S", 4.0)
    monkeypatch.setattr(live_conversation, "PAUSE_S", 0.05)
    slot = SlotBench(asr_slot(), [engine])
    slot.load.clear()
    async with realtime_bench(slot) as bench, bench.client() as client:
        for _ in range(6):
            await client.say(SECOND)
        error = await client.error()
        assert (error.code, error.param) == ("input_audio_buffer_full", "audio")
        slot.load.set()
        await (await engine.session()).has(4.0)


async def test_partials_alone_promise_nothing(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.say(Partial(utterance=0, text="a"), Partial(utterance=0, text="b"))
        session.die()
        failed = await client.event()
        assert failed.type == FAILED
