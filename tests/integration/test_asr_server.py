"""A recognizer behind its port: sessions over real sockets, and nothing left of it afterwards."""

import asyncio
import contextlib
import logging
import random
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import aiohttp
import numpy as np
import pytest

from providers.asr.connection import Connection
from providers.asr.messages import (
    LARGEST_MESSAGE,
    Commit,
    Committed,
    Done,
    End,
    Failed,
    Final,
    Heard,
    Partial,
    SpeechStarted,
    Start,
    TurnDetection,
)
from providers.asr.options import AsrOptions
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer, Samples, Segment
from providers.asr.server import SPARE_SESSIONS, AsrServer
from providers.base import Endpoint, HealthState
from providers.errors import ProviderError
from providers.native.health import probe
from providers.tiny.tones import WORDS, tones
from tests.support.asr_bench import LEVEL, TOKEN, Bench, bench, pcm, placement, until
from tests.support.asr_ear import Ear
from tests.support.asr_speech import speech
from tests.support.server import free_port

LIVE = Start(live=True, turns=TurnDetection())
EAR_S = 8.0


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    await until(lambda: not [task for task in asyncio.all_tasks() if "aiohttp" in repr(task) or "/asr/" in repr(task)])
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("asr")])


@pytest.fixture
def ear() -> Ear:
    return Ear(longest_piece_s=EAR_S)


@pytest.fixture
async def served(ear: Ear) -> AsyncIterator[Bench]:
    async with bench(lambda: ear) as made:
        yield made
    assert ear.closed == 1 and not ear.iterators_open


def spoken(count: int, seed: int = 0) -> tuple[str, Samples]:
    """Its words never come twice in a row: each is a tone of its own."""
    words = [random.Random(seed).choice(WORDS)]
    while len(words) < count:
        words.append(random.Random(seed + len(words)).choice([word for word in WORDS if word != words[-1]]))
    return " ".join(words), tones(words, before_s=1, between_s=0.3, after_s=1)


async def test_a_file_is_heard_as_it_comes_and_ends(served: Bench) -> None:
    text, audio = spoken(40)
    async with served.call(Start()) as caller:
        await caller.speak(audio)
        await caller.wait_for(Heard)
        assert not caller.of(Done)
        await caller.say(End())
        await caller.all()
        assert caller.socket.close_code == 1000
    heard = [event.segment for event in caller.of(Heard)]
    assert " ".join(segment.text for segment in heard) == text
    (done,) = caller.of(Done)
    assert done.duration_s == pytest.approx(len(audio) / SAMPLE_RATE) and done.language == "en"
    assert caller.events[-1] == done


@pytest.mark.parametrize("cuts_itself", [False, True])
@pytest.mark.parametrize("turns", [None, TurnDetection(silence_duration_ms=200)])
async def test_files_are_cut_as_suits_the_recognizer(cuts_itself: bool, turns: TurnDetection | None) -> None:
    ear = Ear(longest_piece_s=EAR_S, cuts_itself=cuts_itself)
    audio = np.concatenate((np.zeros(6 * SAMPLE_RATE, np.float32), tones(["alpha"]), np.zeros(SAMPLE_RATE, np.float32)))
    async with bench(lambda: ear) as served:
        heard = await served.transcribe(audio, Start(turns=turns))
    # The first is the warm-up.
    lengths = ear.pieces[1:]
    assert heard.text == "alpha"
    assert heard.segments[0].start_s == pytest.approx(6, abs=0.02)
    if cuts_itself and turns is None:
        assert sum(lengths) == pytest.approx(len(audio) / SAMPLE_RATE)
    else:
        assert lengths == pytest.approx([0.3 + 0.24 + (0.5 if turns is None else 0.2)], abs=0.07)


async def test_a_client_may_send_samples_one_by_one_or_all_at_once(served: Bench) -> None:
    text, audio = spoken(12)
    for chunk in (37, 1600, LARGEST_MESSAGE // 2):
        assert (await served.transcribe(audio, chunk=chunk)).text == text


@pytest.mark.parametrize("piecemeal", [False, True])
async def test_real_time_and_a_burst_are_heard_alike(piecemeal: bool) -> None:
    audio = np.concatenate([spoken(3, seed)[1] for seed in range(4)])
    finals, places = [], []
    async with bench(lambda: Ear(EAR_S, piecemeal=piecemeal)) as served:
        for chunk in (320, 4000, len(audio)):
            async with served.call(LIVE) as caller:
                for at in range(0, len(audio), chunk):
                    await caller.speak(audio[at : at + chunk])
                    # Real time, but for how long it takes: the engine is never behind.
                    if chunk == 4000:
                        await asyncio.sleep(0.005)
                await caller.wait_for(Final, 4)
            finals.append(caller.finals)
            places.append([(event.start_s, event.end_s) for event in caller.of(Committed)])
    assert finals == [[spoken(3, seed)[0] for seed in range(4)]] * 3
    assert places == [places[0]] * 3


async def test_partials_come_while_it_is_spoken(served: Bench) -> None:
    async with served.call(LIVE) as caller:
        await caller.speak(tones(["alpha", "bravo"], before_s=0.5))
        (partial,) = await caller.wait_for(Partial)
        assert "alpha bravo".startswith(partial.text) and not caller.of(Final)
        await caller.speak(np.zeros(SAMPLE_RATE, np.float32))
        await caller.wait_for(Final)
    assert caller.finals == ["alpha bravo"]


async def file_text(served: Bench, seed: int) -> str:
    return (await served.transcribe(spoken(6, seed)[1])).text


async def test_twenty_sessions_at_once(ear: Ear) -> None:
    async def live_text(served: Bench, seed: int) -> str:
        async with served.call(LIVE) as caller:
            await caller.speak(spoken(6, seed)[1], 1600)
            await caller.wait_for(Final)
        return caller.finals[0]

    async with bench(lambda: ear, sessions=20) as served:
        lives = [live_text(served, seed) for seed in range(10)]
        texts = await asyncio.gather(*lives, *(file_text(served, seed) for seed in range(10, 20)))
    assert texts == [spoken(6, seed)[0] for seed in range(20)]


async def test_more_sessions_than_it_has_threads_share_them(ear: Ear) -> None:
    async with bench(lambda: ear, sessions=1) as served:
        texts = await asyncio.gather(*(file_text(served, seed) for seed in range(1 + SPARE_SESSIONS)))
    assert texts == [spoken(6, seed)[0] for seed in range(1 + SPARE_SESSIONS)]


async def test_too_many_sessions_are_refused(ear: Ear) -> None:
    async with bench(lambda: ear, sessions=1) as served:
        async with contexts(served, 1 + SPARE_SESSIONS):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with served.call(LIVE):
                    pass
            assert refused.value.status == 503
        await until(lambda: not served.server.visits)
        assert (await served.transcribe(tones(["alpha"], before_s=1))).text == "alpha"


class contexts:
    def __init__(self, served: Bench, count: int) -> None:
        self._calls = [served.call(LIVE) for _ in range(count)]

    async def __aenter__(self) -> None:
        for call in self._calls:
            await call.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        for call in self._calls:
            await call.__aexit__(None, None, None)


async def test_a_sender_is_held_back_while_it_computes(served: Bench, ear: Ear) -> None:
    ear.gate.clear()
    sent = 0
    minute = np.concatenate([tones(["alpha"], after_s=0.76)] * 60)
    async with served.call(Start()) as caller:

        async def send() -> None:
            nonlocal sent
            for _ in range(120):
                await caller.speak(minute, 16_000)
                sent += 1

        sending = asyncio.create_task(send())
        await until(ear.at_work.is_set)
        (connection,) = served.server.visits
        assert isinstance(connection, Connection)
        await until(lambda: not connection._inbox.is_empty)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert connection._inbox._waiting <= 6 * SAMPLE_RATE * 2
        assert sent < 120 and not sending.done(), "two hours do not fit into sockets"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert caller.socket._conn is not None
        ear.gate.set()


@pytest.mark.parametrize("seconds", [3, 300])
async def test_nothing_more_is_computed_for_a_client_that_left(served: Bench, ear: Ear, seconds: int) -> None:
    """Neither when all of its audio is there already, nor when it still waits in the sockets, and its end behind it."""
    ear.gate.clear()
    before = len(ear.pieces)
    async with served.call(Start()) as caller:
        sending = asyncio.create_task(caller.speak(np.concatenate([tones(["alpha"], after_s=0.76)] * seconds), 16_000))
        await until(ear.at_work.is_set)
        await asyncio.sleep(0.2)
        connection = caller.socket._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.abort()
        await asyncio.gather(sending, return_exceptions=True)
    for one in tuple(served.server.visits):
        assert isinstance(one, Connection)
        await until(one.gone)
    ear.gate.set()
    await until(lambda: not served.server.visits)
    assert len(ear.pieces) == before + 1 and not ear.iterators_open


async def test_a_failed_file_is_told_and_closed(ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    ear.fails_on, ear.refuses = "golf", "hotel"
    async with bench(lambda: ear) as served:
        broken = await served.transcribe(tones(["alpha", "golf", "bravo"], before_s=1, between_s=1))
        refused = await served.transcribe(tones(["hotel"], before_s=1))
        fine = await served.transcribe(tones(["echo"], before_s=1))
    assert broken.text == "alpha" and broken.done is None
    assert [(one.status, one.utterance) for one in broken.failed] == [(500, None)]
    assert "broke at golf" in broken.failed[0].message and "Traceback" not in broken.failed[0].message
    assert any(record.name == "hal0.asr" and record.exc_info for record in caplog.records)
    assert [(one.status, one.code, one.param) for one in refused.failed] == [(400, "unspeakable", "language")]
    assert fine.text == "echo" and not ear.iterators_open


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\0\0\0", "whole samples"),
        ("{", "JSON"),
        ('{"type": "sing"}', "type|sing"),
        ('{"type": "start"}', "start"),
        ('{"type": "clear"}', "clear"),
        ('{"type": "end", "more": 1}', "more"),
        ("[" * 100_000, "JSON"),
    ],
)
async def test_a_wrong_message_ends_a_file_but_no_live_session(
    served: Bench, message: str | bytes, complaint: str
) -> None:
    for start in (Start(), LIVE):
        if start.live and message == '{"type": "clear"}':
            continue
        async with served.call(start) as caller:
            await (caller.socket.send_bytes if isinstance(message, bytes) else caller.socket.send_str)(message)  # type: ignore[arg-type]
            (failed,) = await caller.wait_for(Failed)
            assert failed.status == 400 and failed.utterance is None
            if start.live:
                await caller.speak(tones(["alpha"], before_s=1, after_s=1))
                await caller.wait_for(Final)
                assert caller.finals == ["alpha"]
            else:
                assert await caller.all() == [failed]


@pytest.mark.parametrize("message", [b"\0\0", '{"type": "end"}', "x"])
async def test_a_session_starts_with_its_start(served: Bench, message: str | bytes) -> None:
    async with served.call() as caller:
        await (caller.socket.send_bytes if isinstance(message, bytes) else caller.socket.send_str)(message)  # type: ignore[arg-type]
        (failed,) = await caller.all()
    assert isinstance(failed, Failed) and failed.status == 400


async def test_messages_may_be_as_large_as_agreed_and_no_larger(served: Bench) -> None:
    silence = bytes(LARGEST_MESSAGE)
    async with served.call(Start()) as caller:
        await caller.socket.send_bytes(silence)
        await caller.say(End())
        (done,) = await caller.all()
        assert isinstance(done, Done) and done.duration_s == LARGEST_MESSAGE / 2 / SAMPLE_RATE
    async with served.call(Start()) as caller:
        await caller.socket.send_bytes(silence + b"\0\0")
        await caller.say(End())
        assert await caller.all() == []
        assert caller.socket.close_code == 1009


async def test_silero_hears_real_speech(ear: Ear) -> None:
    recorded = speech("beckett")
    audio = np.concatenate((np.zeros(3 * SAMPLE_RATE, np.float32), recorded, np.zeros(2 * SAMPLE_RATE, np.float32)))
    async with bench(lambda: Ear(30.0), AsrOptions()) as served, served.call(LIVE) as caller:
        await caller.speak(audio, 1600)
        await caller.wait_for(Committed, 3)
    started = caller.of(SpeechStarted)[0]
    assert started.at_s == pytest.approx(3 + 0.32 - 0.3, abs=0.1)


async def test_health_from_load_to_ready(ear: Ear) -> None:
    loaded = threading.Event()

    def load() -> Recognizer:
        assert loaded.wait(30)
        return ear

    async with bench(load, wait=False) as served:
        assert (await probe(served.endpoint)).state is HealthState.WARMING
        assert await served.status() == 503
        loaded.set()
        async with asyncio.timeout(20):
            while (health := await probe(served.endpoint)).state is HealthState.WARMING:
                await asyncio.sleep(0.01)
        assert health.state is HealthState.READY
        assert ear.pieces == [0.5], "it has computed once"
    assert (await probe(served.endpoint)).state is HealthState.STARTING


@pytest.mark.parametrize("reason", ["load", "warm-up"])
async def test_a_failed_load_says_why(reason: str) -> None:
    class Broken(Ear):
        def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
            raise ProviderError("tokenizer.bin is of another model")

    broken = Broken()

    def load() -> Recognizer:
        if reason == "load":
            raise ProviderError("tokenizer.bin is of another model")
        return broken

    async with bench(load, wait=False) as served:
        async with asyncio.timeout(20):
            while (health := await probe(served.endpoint)).state is HealthState.WARMING:
                await asyncio.sleep(0.01)
        assert health.state is HealthState.DEAD and health.detail == "tokenizer.bin is of another model"
        assert await served.status() == 500
    assert bool(broken.closed) == (reason == "warm-up")


async def test_a_token_is_demanded(served: Bench) -> None:
    assert await served.status("wrong") == 401 and await served.status("") == 401
    async with served.http.get(served.endpoint.url + SESSION_PATH) as response:
        assert response.status == 401 and "token" in (await response.json())["error"]["message"]
    async with served.http.get(served.endpoint.url + "/health") as response:
        assert response.status == 200
    async with served.http.get(served.endpoint.url + "/other", headers={"Authorization": f"Bearer {TOKEN}"}) as found:
        assert found.status == 404


async def test_a_port_that_is_taken_is_an_error(ear: Ear) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = AsrServer(lambda: ear, LEVEL, placement(taken.getsockname()[1]), 1)
        with pytest.raises(OSError, match="in use"):
            await server.start()
        await server.stop()
    assert ear.pieces == []


async def test_an_engine_that_never_started_stops(ear: Ear) -> None:
    server = AsrServer(lambda: ear, LEVEL, placement(free_port()), 1)
    await asyncio.gather(server.stop(), server.stop())


async def test_stop_tells_sessions_and_frees_the_port(served: Bench, ear: Ear) -> None:
    async with served.call(LIVE) as idle, served.call(Start()) as busy:
        await busy.speak(tones(["alpha"], before_s=1))
        await asyncio.gather(served.server.stop(), served.server.stop())
        for caller in (idle, busy):
            (failed,) = await caller.all()
            assert isinstance(failed, Failed) and failed.status == 503 and "unloaded" in failed.message
    assert ear.closed == 1
    port = int(served.endpoint.url.rpartition(":")[2])
    socket.create_server(("127.0.0.1", port)).close()


async def test_stop_waits_for_what_is_being_computed(served: Bench, ear: Ear) -> None:
    ear.gate.clear()
    async with served.call(Start()) as caller:
        await caller.speak(tones(["alpha", "bravo", "golf"], before_s=1, between_s=1, after_s=1))
        await until(ear.at_work.is_set)
        stopping = asyncio.create_task(served.server.stop())
        (failed,) = await caller.wait_for(Failed)
        assert failed.status == 503 and not stopping.done()
        ear.gate.set()
        await stopping
    assert ear.closed == 1


async def test_stop_does_not_wait_for_ever(
    ear: Ear, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("providers.native.server.STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr("providers.native.server.CLOSE_TIMEOUT_S", 0.2)
    async with bench(lambda: ear) as served, served.call(LIVE) as caller:
        ear.gate.clear()
        await caller.speak(tones(["alpha"], before_s=1, after_s=1))
        await until(ear.at_work.is_set)
        await served.server.stop()
        assert "does not end" in caplog.text and not ear.closed
        ear.gate.set()


async def test_stop_frees_an_utterance_before_the_model() -> None:
    class Watched(Ear):
        def close(self) -> None:
            super().close()
            assert self.utterances and all(utterance.closed for utterance in self.utterances)

    ear = Watched(piecemeal=True)
    async with bench(lambda: ear) as served, served.call(LIVE) as caller:
        await caller.speak(tones(["alpha", "bravo"], before_s=1))
        await caller.wait_for(SpeechStarted)
        await until(lambda: bool(ear.utterances))
        await served.server.stop()
    assert ear.closed == 1


async def test_stop_during_a_load_leaves_no_model(ear: Ear) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> Recognizer:
        loading.set()
        assert loaded.wait(30)
        return ear

    async with bench(load, wait=False) as served:
        await until(loading.is_set)
        stopping = asyncio.create_task(served.server.stop())
        await until(lambda: served.server._ended)
        loaded.set()
        await stopping
    assert ear.closed == 1


async def test_stop_is_not_held_up_by_a_client_that_does_not_read(ear: Ear) -> None:
    async with bench(lambda: ear) as served:
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", int(served.endpoint.url.rpartition(":")[2])))
        _, writer = await asyncio.open_connection(sock=link, limit=1)
        head = f"GET {SESSION_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\n"
        upgrade = (
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n"
        )
        writer.write((head + upgrade).encode() + frame(1, LIVE.model_dump_json().encode()))
        await until(lambda: bool(served.server.visits))
        (connection,) = served.server.visits
        assert isinstance(connection, Connection)
        transport = connection._transport
        assert transport is not None
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        # Until its answers fill both sockets: then it is not read any more either.
        flood = frame(1, Commit().model_dump_json().encode()) * 1000
        waiting, before = 0, -1
        while not waiting or waiting != before:
            if not connection._outbox:
                writer.write(flood)
            await asyncio.sleep(0.2)
            waiting, before = len(connection._outbox) and transport.get_write_buffer_size(), waiting
        assert connection._outbox and not connection.gone()
        await served.server.stop()
        assert ear.closed == 1 and transport.get_write_buffer_size() == 0
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's, short and masked with zeros: https://www.rfc-editor.org/rfc/rfc6455#section-5.2"""
    assert len(payload) < 2**16
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else bytes((0xFE,)) + len(payload).to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + bytes(4) + payload


async def test_a_port_where_nobody_answers_is_starting() -> None:
    assert (await probe(Endpoint(f"http://127.0.0.1:{free_port()}", TOKEN))).state is HealthState.STARTING


async def test_logs_do_not_tell_what_was_said(served: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hal0"):
        await served.transcribe(tones(["alpha"], before_s=1))
    assert "alpha" not in caplog.text and TOKEN not in caplog.text


def test_samples_on_the_wire_are_what_they_were() -> None:
    from providers.asr.connection import samples_of

    audio = np.array([-1.0, -0.5, 0.0, 0.25, 32767 / 32768], np.float32)
    np.testing.assert_array_equal(samples_of(pcm(audio)), audio)
