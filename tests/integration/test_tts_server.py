"""A synthesizer behind its port: speech over real sockets, and nothing left of it afterwards."""

import asyncio
import contextlib
import json
import logging
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from providers.base import HealthState
from providers.errors import ProviderError
from providers.native.health import probe
from providers.tts.messages import CONTENT_TYPE, RATE_HEADER
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.tts.server import TtsServer
from providers.tts.synthesizer import Manner, Reference, Share, Synthesizer
from tests.support.asr_bench import TOKEN, placement, until
from tests.support.server import free_port
from tests.support.tts_bench import LOW, Bench, bench, body, samples_of
from tests.support.tts_voice import LETTER_S, ToneVoice

FOUR = "One. Two. Three. Four."
HIGH = Manner(blend=(Share("high"),))


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    await until(lambda: not [task for task in asyncio.all_tasks() if "aiohttp" in repr(task) or "/tts/" in repr(task)])
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("tts")])


@pytest.fixture
def voice() -> ToneVoice:
    return ToneVoice()


@pytest.fixture
async def served(voice: ToneVoice) -> AsyncIterator[Bench]:
    async with bench(lambda: voice) as made:
        yield made
    assert voice.closed == 1 and not voice.iterators_open


async def test_a_text_is_spoken_sentence_by_sentence(served: Bench, voice: ToneVoice) -> None:
    async with served.ask(FOUR) as response:
        assert response.status == 200 and response.content_type == CONTENT_TYPE
        assert response.headers[RATE_HEADER] == "8000"
        assert response.headers["Transfer-Encoding"] == "chunked"
        sound = samples_of(await response.read())
    assert voice.begun == ["One.", "Two.", "Three.", "Four."]
    spoken_s = 15 * LETTER_S + 4 * 0.02 + 3 * TtsOptions().sentence_pause_s
    assert len(sound) / voice.sample_rate == pytest.approx(spoken_s, abs=0.005)


async def test_it_is_heard_before_the_second_sentence_is_computed(served: Bench, voice: ToneVoice) -> None:
    voice.gate.clear()
    voice.passes.release()
    async with served.ask(FOUR) as response:
        assert await response.content.readany()
        await until(lambda: len(voice.begun) == 2)
        voice.gate.set()
        assert await response.content.read()


async def test_no_status_before_the_first_sentence_is_computed(served: Bench, voice: ToneVoice) -> None:
    voice.gate.clear()
    asking = asyncio.create_task(served.speak(FOUR))
    await until(lambda: bool(voice.begun))
    done, _ = await asyncio.wait({asking}, timeout=0.2)
    assert not done
    voice.gate.set()
    assert len(await asking)


async def test_two_voices_at_once(served: Bench, voice: ToneVoice) -> None:
    alone = [await served.speak(FOUR, manner) for manner in (LOW, HIGH)]
    voice.gate.clear()
    both = asyncio.gather(*(served.speak(FOUR, manner) for manner in (LOW, HIGH)))
    await until(lambda: voice.iterators_open == 2)
    voice.gate.set()
    for heard, expected in zip(await both, alone, strict=True):
        np.testing.assert_array_equal(heard, expected)
    assert not np.array_equal(alone[0], alone[1])


async def test_more_requests_than_threads_share_them(voice: ToneVoice) -> None:
    async with bench(lambda: voice, requests=2) as served:
        alone = await served.speak(FOUR)
        voice.gate.clear()
        speaking = asyncio.gather(*(served.speak(FOUR) for _ in range(10)))
        await until(lambda: voice.most_at_once == 2)
        voice.gate.set()
        for heard in await speaking:
            np.testing.assert_array_equal(heard, alone)
    assert voice.most_at_once == 2


async def test_a_reference_and_the_rest_of_the_manner_arrive(served: Bench, voice: ToneVoice) -> None:
    manner = Manner(reference=Reference(bytes(1_000_000), 24_000, "What was said."), speed=2.0, language="en-GB")
    assert len(await served.speak("Hello.", manner))
    assert voice.manners == [manner]


async def slow_client(served: Bench, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", int(served.endpoint.url.rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=link, limit=1024)
    data = body(text).encode()
    head = f"POST {SPEECH_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return reader, writer


async def stands(voice: ToneVoice) -> int:
    """How many sentences have been begun, when no more are."""
    await until(lambda: bool(voice.begun))
    before = -1
    while before != len(voice.begun) or voice.iterators_open:
        before = len(voice.begun)
        await asyncio.sleep(0.3)
    return before


async def test_a_reader_that_stops_holds_the_engine() -> None:
    """Two sentences ahead of what the sockets' buffers took."""
    voice = ToneVoice(sample_rate=24_000)
    text = " ".join(f"{'word' * 10} {number}." for number in range(100))
    async with bench(lambda: voice) as served:
        reader, writer = await slow_client(served, text)
        sentence_bytes = 40 * LETTER_S * voice.sample_rate * 2
        assert await stands(voice) <= 3 + 400_000 / sentence_bytes
        voice_at_rest = len(voice.begun)
        async with asyncio.timeout(30):
            while len(voice.begun) == voice_at_rest:
                assert await reader.read(100_000)
        writer.transport.abort()
        await until(lambda: not served.server.visits)
        assert len(voice.begun) < 100
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_five_thousand_words_in_bounded_memory() -> None:
    voice = ToneVoice(sample_rate=24_000)
    text = " ".join(f"These are five words {number}." for number in range(1000))
    async with bench(lambda: voice) as served:
        tracemalloc.start()
        try:
            total = 0
            async with served.ask(text) as response:
                async for piece in response.content.iter_chunked(65_536):
                    total += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(voice.begun) == 1000 and total > 40_000_000
    assert peak < 8_000_000


@pytest.mark.parametrize("sentence", [1, 2])
async def test_nothing_more_is_computed_for_a_client_that_left(served: Bench, voice: ToneVoice, sentence: int) -> None:
    voice.gate.clear()
    for _ in range(sentence - 1):
        voice.passes.release()
    reader, writer = await slow_client(served, FOUR)
    await until(lambda: len(voice.begun) == sentence)
    (visit,) = served.server.visits
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await reader.read()
        await writer.wait_closed()
    await until(lambda: visit._gone())  # type: ignore[attr-defined]
    voice.gate.set()
    await until(lambda: not served.server.visits and not voice.iterators_open)
    assert len(voice.begun) == sentence


async def test_who_left_while_waiting_for_a_thread_is_forgotten(voice: ToneVoice) -> None:
    async with bench(lambda: voice, requests=1) as served:
        voice.gate.clear()
        busy = asyncio.create_task(served.speak("Busy."))
        await until(lambda: voice.begun == ["Busy."])
        _, writer = await slow_client(served, "Waiting.")
        await until(lambda: len(served.server.visits) == 2)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: any(visit._gone() for visit in served.server.visits))  # type: ignore[attr-defined]
        voice.gate.set()
        assert len(await busy)
    assert voice.begun == ["Busy."]


# What goes wrong.


async def test_an_error_in_the_first_sentence_is_a_status(
    served: Bench, voice: ToneVoice, caplog: pytest.LogCaptureFixture
) -> None:
    voice.fails_on, voice.refuses = "One", "Never"
    async with served.ask(FOUR) as broken:
        assert broken.status == 500
        assert (await broken.json())["error"]["message"] == "the library broke at One"
    async with served.ask("Never. Two.") as refused:
        assert refused.status == 400
        assert (await refused.json())["error"] == {
            "message": "Nobody says this.",
            "code": "unspeakable",
            "param": "input",
        }
    assert any(record.name == "hal0.tts" and record.exc_info for record in caplog.records)
    assert len(await served.speak("Fine."))


@pytest.mark.parametrize("kind", ["fails_on", "refuses"])
async def test_a_later_error_breaks_the_connection(served: Bench, voice: ToneVoice, kind: str) -> None:
    setattr(voice, kind, "Three")
    heard = b""
    async with served.ask(FOUR) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                heard += piece
    assert heard and voice.begun == ["One.", "Two.", "Three."]
    assert len(await served.speak("Fine."))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"{}", "text"),
        (json.dumps({"text": "", "blend": [{"voice": "low", "weight": 1}]}).encode(), "text"),
        (json.dumps({"text": "Hi", "blend": [{"voice": "low", "weight": 1}], "speed": 9}).encode(), "speed"),
        (json.dumps({"text": "Hi", "secret": 1, "blend": [{"voice": "low", "weight": 1}]}).encode(), "secret"),
        (json.dumps({"text": "Hi"}).encode(), "voice"),
        (json.dumps({"text": "Hi", "reference": {"pcm": "?", "rate": 8000, "text": ""}}).encode(), "base64"),
        (
            json.dumps({"text": "Hi", "reference": {"pcm": "AAAAAAA=", "rate": 8000, "text": ""}}).encode(),
            "whole samples",
        ),
        (body("Hi", Manner(blend=(Share("nobody"),))).encode(), "nobody"),
        (body("... 😀").encode(), "nothing"),
    ],
)
async def test_wrong_requests(served: Bench, voice: ToneVoice, wrong: bytes, complaint: str) -> None:
    async with served.post(wrong) as response:
        assert response.status == 400
        assert complaint in str((await response.json())["error"])
    assert voice.begun == []


async def test_a_body_may_be_four_mebibytes_and_no_larger(served: Bench) -> None:
    async with served.post(bytes(4 * 1024**2)) as response:
        assert response.status == 400
    async with served.post(bytes(4 * 1024**2 + 1)) as response:
        assert response.status == 413 and "4194304" in (await response.json())["error"]["message"]


async def test_a_model_that_finds_nothing_to_speak() -> None:
    class Mute(ToneVoice):
        def _tone(self, character: str, manner: Manner) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            return np.zeros(100, np.float32)

    mute = Mute()
    async with bench(lambda: mute) as served, served.ask(FOUR) as response:
        assert response.status == 400 and (await response.json())["error"]["param"] == "input"
    assert len(mute.begun) == 4


async def test_a_token_is_demanded(served: Bench) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        async with served.http.post(served.endpoint.url + SPEECH_PATH, data=body("Hi"), headers=headers) as response:
            assert response.status == 401


async def test_logs_do_not_tell_what_was_said(served: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hal0"):
        await served.speak("Confidential.")
        async with served.post(b'{"text": ["Confidential"]}') as response:
            assert "Confidential" not in await response.text()
    assert "Confidential" not in caplog.text and TOKEN not in caplog.text


# From load to stop.


async def test_health_from_load_to_ready(voice: ToneVoice) -> None:
    loaded = threading.Event()

    def load() -> Synthesizer:
        assert loaded.wait(30)
        return voice

    async with bench(load, wait=False) as served:
        assert (await probe(served.endpoint)).state is HealthState.WARMING
        assert await served.status() == 503
        loaded.set()
        async with asyncio.timeout(20):
            while (health := await probe(served.endpoint)).state is HealthState.WARMING:
                await asyncio.sleep(0.01)
        assert health.state is HealthState.READY
    assert (await probe(served.endpoint)).state is HealthState.STARTING


async def test_a_failed_load_says_why() -> None:
    def load() -> Synthesizer:
        raise ProviderError("voices.bin is of another model")

    async with bench(load, wait=False) as served:
        async with asyncio.timeout(20):
            while (health := await probe(served.endpoint)).state is HealthState.WARMING:
                await asyncio.sleep(0.01)
        assert health.state is HealthState.DEAD and health.detail == "voices.bin is of another model"
        assert await served.status() == 500


async def test_an_engine_that_never_started_stops(voice: ToneVoice) -> None:
    server = TtsServer(lambda: voice, TtsOptions(), placement(free_port()), 1)
    await asyncio.gather(server.stop(), server.stop())


async def test_stop_during_a_load_leaves_no_model(voice: ToneVoice) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> Synthesizer:
        loading.set()
        assert loaded.wait(30)
        return voice

    async with bench(load, wait=False) as served:
        await until(loading.is_set)
        stopping = asyncio.create_task(served.server.stop())
        await until(lambda: served.server._ended)
        loaded.set()
        await stopping
    assert voice.closed == 1


async def test_stop_during_speech_breaks_it_and_leaves_nothing(served: Bench, voice: ToneVoice) -> None:
    voice.gate.clear()
    voice.passes.release()
    async with served.ask(FOUR) as response:
        assert await response.content.readany()
        await until(lambda: len(voice.begun) == 2)
        async with contextlib.AsyncExitStack() as stack:
            early = asyncio.create_task(stack.enter_async_context(served.ask("Early.")))
            await until(lambda: len(voice.begun) == 3)
            stopping = asyncio.gather(served.server.stop(), served.server.stop())
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
            assert not stopping.done(), "what is being computed is waited for"
            voice.gate.set()
            await stopping
            refused = await early
            assert refused.status == 503 and "unloaded" in (await refused.json())["error"]["message"]
    assert voice.closed == 1 and len(voice.begun) == 3
    port = int(served.endpoint.url.rpartition(":")[2])
    socket.create_server(("127.0.0.1", port)).close()


async def test_who_asks_an_engine_that_is_ending_is_sent_away(served: Bench, voice: ToneVoice) -> None:
    """By a broken connection, which an ingress takes for "ask another engine", and not by an answer."""
    assert await served.status() == 400  # leaves an open connection
    voice.gate.clear()
    speaking = asyncio.create_task(served.speak(FOUR))
    await until(lambda: bool(voice.begun))
    assert await served.status() == 400
    stopping = asyncio.create_task(served.server.stop())
    await until(lambda: served.server._ended)
    with pytest.raises(aiohttp.ClientConnectionError):
        await served.status()
    voice.gate.set()
    await stopping
    assert isinstance((await asyncio.gather(speaking, return_exceptions=True))[0], BaseException)


async def test_stop_is_not_held_up_by_a_client_that_does_not_read() -> None:
    voice = ToneVoice(sample_rate=24_000)
    async with bench(lambda: voice) as served:
        _, writer = await slow_client(served, " ".join(f"{'word' * 10} {number}." for number in range(100)))
        await stands(voice)
        async with asyncio.timeout(4):
            await served.server.stop()
        assert voice.closed == 1
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_stop_does_not_wait_for_ever(
    voice: ToneVoice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("providers.native.server.STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr("providers.native.server.CLOSE_TIMEOUT_S", 0.2)
    async with bench(lambda: voice) as served:
        voice.gate.clear()
        asking = asyncio.create_task(served.speak(FOUR))
        await until(lambda: bool(voice.begun))
        await served.server.stop()
        assert "does not end" in caplog.text and not voice.closed
        voice.gate.set()
        with pytest.raises(aiohttp.ClientError):
            await asking
