"""Realtime sessions on a real engine that detects speech and recognizes words: what is said is what is read."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from providers.asr.server import AsrServer
from providers.base import Endpoint, HealthState
from providers.native.health import probe
from providers.tiny.tones import tones
from serve_app.audio.pcm import ALAW, ULAW
from tests.support import asr_bench
from tests.support.asr_ear import Ear
from tests.support.realtime_bench import Client, RealtimeBench, SlotBench, asr_slot, realtime_bench
from tests.support.realtime_engine import PATIENCE_S, until
from tests.support.server import free_port

COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
QUIET_S = 0.7
"""Ends an utterance."""


class EarEngine:
    """The server of speech recognition as a slot runs it, with a recognizer of tones."""

    def __init__(self, ear: Ear | None = None, sessions: int = 2) -> None:
        self.ear = ear or Ear()
        port = free_port()
        self._endpoint = Endpoint(f"http://127.0.0.1:{port}", asr_bench.TOKEN)
        self._server = AsrServer(lambda: self.ear, asr_bench.LEVEL, asr_bench.placement(port), sessions)

    async def start(self) -> Endpoint:
        await self._server.start()
        async with asyncio.timeout(PATIENCE_S):
            while (await probe(self._endpoint)).state is not HealthState.READY:
                await asyncio.sleep(0.01)
        return self._endpoint

    async def stop(self) -> None:
        await self._server.stop()


@pytest.fixture
async def bench() -> AsyncIterator[RealtimeBench]:
    async with realtime_bench(SlotBench(asr_slot(), [EarEngine(sessions=8)])) as bench:
        yield bench


def spoken(*words: str, rate: int = 24_000, encoding: str = "pcm", **pauses: float) -> bytes:
    samples = tones(words, rate=rate, **{"before_s": 0.4, "after_s": QUIET_S, **pauses}) * 32_000
    if encoding == "pcm":
        return bytes(np.rint(samples).astype("<i2").tobytes())
    table = ULAW if encoding == "ulaw" else ALAW
    return bytes(np.abs(samples[:, None] - table[None, :]).argmin(axis=1).tolist())


async def say(client: Client, pcm: bytes, piece: int = 4_800) -> None:
    """As fast as it is taken."""
    for at in range(0, len(pcm), piece):
        await client.say(pcm[at : at + piece])


async def texts(client: Client, count: int) -> list[str]:
    """Of the next utterances; the deltas of each are its text."""
    found: list[str] = []
    deltas: dict[str, str] = {}
    while len(found) < count:
        event = await client.event()
        assert event.type != "error", event
        if event.type == DELTA:
            deltas[event.item_id] = deltas.get(event.item_id, "") + event.delta
        elif event.type == COMPLETED:
            assert deltas.get(event.item_id, "") == event.transcript
            found.append(event.transcript)
    return found


@pytest.mark.parametrize("piece", [480, 4_800, 48_000, 1_000_000])
async def test_what_is_said_is_read_whatever_the_pieces(bench: RealtimeBench, piece: int) -> None:
    async with bench.client() as client:
        await say(client, spoken("alpha", "bravo") + spoken("golf") + spoken("hotel", "echo", "delta"), piece)
        assert await texts(client, 3) == ["alpha bravo", "golf", "hotel echo delta"]


async def test_the_events_of_an_utterance_tell_when_it_was(bench: RealtimeBench) -> None:
    async with bench.client() as client:
        await say(client, spoken("alpha", before_s=1.0))
        events = await client.until(COMPLETED)
    started, stopped = (next(event for event in events if event.type.endswith(kind)) for kind in ("started", "stopped"))
    assert 600 <= started.audio_start_ms <= 1000 < 1240 <= stopped.audio_end_ms <= 1950
    assert events[-1].usage.seconds == pytest.approx((stopped.audio_end_ms - started.audio_start_ms) / 1000, abs=0.01)


async def test_words_come_while_they_are_spoken() -> None:
    engine = EarEngine(Ear(piecemeal=True))
    words = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
    pcm = spoken(*words)
    async with realtime_bench(SlotBench(asr_slot(), [engine])) as bench, bench.client() as client:
        said, heard = asyncio.create_task(paced(client, pcm)), ""
        while not said.done():
            event = await client.event()
            if event.type == DELTA:
                heard += event.delta
            if event.type == "input_audio_buffer.speech_stopped":
                break
        await said
        assert heard.split() == list(words[: len(heard.split())])
        assert len(heard.split()) >= 4


async def paced(client: Client, pcm: bytes) -> None:
    """Four times as fast as it would be spoken."""
    for at in range(0, len(pcm), 4_800):
        await client.say(pcm[at : at + 4_800])
        await asyncio.sleep(0.025)


@pytest.mark.parametrize(
    ("source", "rate", "encoding"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, 24_000, "pcm"),
        ({"type": "audio/pcmu"}, 8_000, "ulaw"),
        ({"type": "audio/pcma"}, 8_000, "alaw"),
    ],
    ids=["pcm", "ulaw", "alaw"],
)
async def test_every_format_is_understood(bench: RealtimeBench, source: Any, rate: int, encoding: str) -> None:
    async with bench.client() as client:
        assert (await client.set(format=source)).type == "session.updated"
        await say(client, spoken("foxtrot", "alpha", rate=rate, encoding=encoding))
        assert await texts(client, 1) == ["foxtrot alpha"]


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
async def test_so_are_the_rates_that_only_this_server_takes(bench: RealtimeBench, rate: int) -> None:
    async with bench.connect() as connection:
        session: Any = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcm", "rate": rate}}}}
        await connection.recv()
        await connection.session.update(session=session)
        assert (await connection.recv()).type == "session.updated"
        client = Client(connection)
        await say(client, spoken("golf", "bravo", rate=rate))
        assert await texts(client, 1) == ["golf bravo"]


async def test_the_client_may_cut_where_it_likes(bench: RealtimeBench) -> None:
    async with bench.client() as client:
        await client.set(turn_detection=None)
        pcm = spoken("alpha", "bravo", before_s=0, after_s=0)
        middle = len(pcm) // 2 + 2_400
        for part in (pcm[:middle], pcm[middle:]):
            await say(client, part)
            await client.connection.input_audio_buffer.commit()
        first, second = await texts(client, 2)
        assert first.startswith("alpha") and second.endswith("bravo")


async def test_what_is_cleared_is_not_read(bench: RealtimeBench) -> None:
    async with bench.client() as client:
        await client.set(turn_detection=None)
        await say(client, spoken("alpha"))
        await client.connection.input_audio_buffer.clear()
        assert (await client.event()).type == "input_audio_buffer.cleared"
        await say(client, spoken("bravo"))
        await client.connection.input_audio_buffer.commit()
        assert await texts(client, 1) == ["bravo"]


async def test_the_mode_may_change_within_a_session(bench: RealtimeBench) -> None:
    async with bench.client() as client:
        await say(client, spoken("alpha"))
        assert await texts(client, 1) == ["alpha"]
        await client.set(turn_detection=None)
        await say(client, spoken("bravo") + spoken("charlie"))
        await client.connection.input_audio_buffer.commit()
        assert await texts(client, 1) == ["bravo charlie"]
        await client.set(turn_detection={"type": "server_vad"})
        await say(client, spoken("delta"))
        assert await texts(client, 1) == ["delta"]


async def test_an_utterance_that_fails_is_told_and_the_next_is_read() -> None:
    engine = EarEngine(Ear(fails_on="golf"))
    async with realtime_bench(SlotBench(asr_slot(), [engine])) as bench, bench.client() as client:
        await say(client, spoken("golf"))
        events = await client.until("conversation.item.input_audio_transcription.failed")
        assert "Traceback" not in events[-1].error.message
        await say(client, spoken("hotel"))
        assert await texts(client, 1) == ["hotel"]


async def test_eight_speak_at_once(bench: RealtimeBench) -> None:
    words = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")

    async def one(word: str) -> list[str]:
        async with bench.client() as client:
            await paced(client, spoken(word) + spoken(word, word))
            return await texts(client, 2)

    assert await asyncio.gather(*map(one, words)) == [[word, f"{word} {word}"] for word in words]


async def test_a_client_that_reconnects_begins_anew(bench: RealtimeBench) -> None:
    for word in ("alpha", "bravo"):
        async with bench.client() as client:
            await say(client, spoken(word))
            assert await texts(client, 1) == [word]


async def test_an_engine_that_is_unloaded_says_so_and_another_goes_on() -> None:
    first, second = EarEngine(), EarEngine()
    async with realtime_bench(SlotBench(asr_slot(), [first, second])) as bench, bench.client() as client:
        await say(client, spoken("alpha"))
        assert await texts(client, 1) == ["alpha"]
        await first.stop()
        error = await client.error()
        assert (error.type, error.message) == ("server_error", "The model is being unloaded.")
        await say(client, spoken("bravo"))
        assert await asyncio.wait_for(texts(client, 1), PATIENCE_S) == ["bravo"]


# Slots that give way to others.


@pytest.mark.parametrize("mode", ["detected", "committed"])
async def test_no_word_is_lost_when_the_slot_gives_way_between_utterances(mode: str) -> None:
    """Each time on a fresh engine, and the next word comes as soon as the lease is back."""
    words = ("alpha", "bravo", "golf", "hotel")
    slot = SlotBench(asr_slot(), [EarEngine() for _ in words])
    async with realtime_bench(slot) as bench, bench.client() as client:
        if mode == "committed":
            await client.set(turn_detection=None)
        previous = None
        for number, word in enumerate(words):
            await say(client, spoken(word, before_s=0.05))
            if mode == "committed":
                await client.connection.input_audio_buffer.commit()
            events = await client.until(COMPLETED)
            assert events[-1].transcript == word
            committed = next(event for event in events if event.type == "input_audio_buffer.committed")
            assert committed.previous_item_id == previous
            previous = committed.item_id
            slot.pool.hold(True)
            await until(lambda: slot.in_use == 0)
            slot.replaced()
            slot.pool.hold(False)
            assert slot.opened == number + 1


async def test_no_word_is_lost_or_heard_twice_when_it_gives_way_at_any_moment() -> None:
    words = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
    slot = SlotBench(asr_slot(), [EarEngine(Ear(piecemeal=True), sessions=8)])
    turns: list[int] = []
    async with realtime_bench(slot) as bench, bench.client() as client:
        giving_way = asyncio.create_task(give_way_at_times(slot, turns))
        try:
            said = asyncio.create_task(paced(client, b"".join(spoken(word) for word in words)))
            assert await texts(client, len(words)) == list(words)
            await said
        finally:
            giving_way.cancel()
            await asyncio.gather(giving_way, return_exceptions=True)
            slot.pool.hold(False)
    assert len(set(turns)) > 4, "how many sessions the slot has answered, each time it gave way"


async def give_way_at_times(slot: SlotBench, turns: list[int]) -> None:
    for pause_s in itertools.cycle((0.03, 0.11, 0.19)):
        slot.pool.hold(True)
        await until(lambda: not slot.pool.traffic.in_flight)
        turns.append(slot.pool.traffic.answered)
        slot.pool.hold(False)
        await asyncio.sleep(pause_s)
