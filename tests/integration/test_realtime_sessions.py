"""Realtime sessions with OpenAI's own client: its audio to an engine, and the engine's words to its events."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    Failed,
    Final,
    Partial,
    SpeechStarted,
    SpeechStopped,
    TurnDetection,
)
from providers.asr.recognizer import Asked, Segment
from tests.support.realtime_bench import RealtimeBench, SlotBench, asr_slot, realtime_bench
from tests.support.realtime_engine import EngineSession, ScriptedEngine

SECOND = bytes(48_000)
"""Of silence at 24 kHz."""


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def bench(engine: ScriptedEngine) -> AsyncIterator[RealtimeBench]:
    async with realtime_bench(SlotBench(asr_slot(), [engine])) as bench:
        yield bench


def heard(utterance: int, text: str) -> Final:
    return Final(utterance=utterance, segments=(Segment(text, 0.0, 1.0),))


async def test_speech_that_the_server_detects_becomes_text(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.has(1.0)
        await session.say(SpeechStarted(utterance=0, at_s=0.25))
        await session.say(Partial(utterance=0, text="hello"), Partial(utterance=0, text="hello wor"))
        await session.say(Partial(utterance=0, text="hello world how"))
        await session.say(SpeechStopped(utterance=0, at_s=0.9), Committed(utterance=0, start_s=0.25, end_s=0.95))
        await session.say(heard(0, "hello world"))
        events = await client.until("conversation.item.input_audio_transcription.completed")
    kinds = [event.type.removeprefix("conversation.item.").removeprefix("input_audio_buffer.") for event in events]
    delta = "input_audio_transcription.delta"
    assert kinds == ["speech_started", delta, "speech_stopped", "committed", "added", "done", delta, kinds[-1]]
    started, _, stopped, committed, added, done, _, completed = events
    assert (started.audio_start_ms, stopped.audio_end_ms) == (250, 900)
    ids = {started.item_id, stopped.item_id, committed.item_id, added.item.id, done.item.id, completed.item_id}
    assert len(ids) == 1
    assert committed.previous_item_id is None
    assert [event.delta for event in events if event.type.endswith("delta")] == ["hello", " world"]
    assert (completed.transcript, completed.usage.type, completed.usage.seconds) == ("hello world", "duration", 0.7)
    assert session.start.live and session.start.turns == TurnDetection()


async def test_utterances_follow_each_other(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        ids: list[str] = []
        for number in range(3):
            await session.say(SpeechStarted(utterance=number, at_s=number))
            await session.say(Committed(utterance=number, start_s=number, end_s=number + 0.5))
            await session.say(heard(number, f"word {number}"))
            events = await client.until("conversation.item.input_audio_transcription.completed")
            assert events[-1].transcript == f"word {number}"
            assert events[1].previous_item_id == (ids[-1] if ids else None)
            ids.append(events[0].item_id)
        assert len(set(ids)) == 3


async def test_a_client_may_say_itself_where_utterances_end(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        updated = await client.set(turn_detection=None, transcription={"language": "en-US", "prompt": "names"})
        assert updated.session.audio.input.turn_detection is None
        await client.say(SECOND[:2400])
        await client.connection.input_audio_buffer.commit()
        error = await client.error()
        assert error.code == "input_audio_buffer_commit_empty"
        assert "only has 50.00ms" in error.message
        await client.say(SECOND)
        await client.connection.input_audio_buffer.commit()
        session = await engine.session()
        assert isinstance(await session.is_told(1), Commit)
        assert session.start.turns is None
        assert session.start.asked == Asked(language="en", prompt="names")
        await session.say(Committed(utterance=0, start_s=0, end_s=1.05), heard(0, "one"))
        events = await client.until("conversation.item.input_audio_transcription.completed")
        assert [event.type for event in events][0] == "input_audio_buffer.committed"
        await client.connection.input_audio_buffer.commit()
        assert (await client.error()).code == "input_audio_buffer_commit_empty"


async def test_what_silence_has_ended_needs_no_commit(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.say(Committed(utterance=0, start_s=0, end_s=0.98))
        await client.until("conversation.item.done")
        await client.connection.input_audio_buffer.commit()
        error = await client.error()
        assert error.code == "input_audio_buffer_commit_empty"
        assert "only has 20.00ms" in error.message


async def test_what_is_cleared_is_forgotten(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.connection.input_audio_buffer.clear()
        assert (await client.event()).type == "input_audio_buffer.cleared"
        await client.say(SECOND)
        session = await engine.session()
        await session.say(SpeechStarted(utterance=0, at_s=0.1))
        first = await client.event()
        await client.connection.input_audio_buffer.clear()
        assert isinstance(await session.is_told(1), Clear)
        await session.say(Cleared(), SpeechStarted(utterance=0, at_s=1.1))
        cleared, second = await client.events(2)
        assert cleared.type == "input_audio_buffer.cleared"
        assert second.item_id != first.item_id
        await client.connection.input_audio_buffer.commit()
        assert (await client.error()).code == "input_audio_buffer_commit_empty"


async def test_settings_change_in_line_behind_the_audio(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        await client.set(transcription={"prompt": "later"}, turn_detection={"type": "server_vad", "threshold": 0.8})
        session = await engine.session()
        assert await session.is_told(1) == Configure(asked=Asked(prompt="later"), turns=TurnDetection(threshold=0.8))
        assert session.controls[0][0] > 31_000
        assert session.start.asked == Asked()


@pytest.mark.parametrize(
    ("source", "second"),
    [
        ({"type": "audio/pcm", "rate": 24000}, 48_000),
        ({"type": "audio/pcmu"}, 8_000),
        ({"type": "audio/pcma"}, 8_000),
    ],
    ids=lambda value: str(value),
)
async def test_every_format_reaches_the_engine_at_its_rate(
    bench: RealtimeBench, engine: ScriptedEngine, source: dict[str, object], second: int
) -> None:
    async with bench.client() as client:
        await client.set(format=source)
        await client.say(bytes(second))
        await (await engine.session()).has(1.0)


async def test_a_failed_utterance_ends_nothing_else(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.say(SECOND)
        session = await engine.session()
        await session.say(Committed(utterance=0, start_s=0, end_s=0.5), Committed(utterance=1, start_s=0.5, end_s=1))
        await session.say(Failed(utterance=0, message="no words", status=500), heard(1, "fine"))
        events = await client.until("conversation.item.input_audio_transcription.completed")
    [failed] = [event for event in events if event.type.endswith("failed")]
    assert (failed.item_id, failed.error.message, failed.error.type) == (events[0].item_id, "no words", "server_error")
    assert events[-1].transcript == "fine"


async def test_the_first_settings_begin_to_load_the_slot(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async with bench.client() as client:
        await client.set(transcription={"model": "ears"})
        await engine.session()
        assert bench.slots["ears"].in_use == 1
        await client.set(transcription={"prompt": "early"})
        await client.say(SECOND)
        session = await engine.session()
        assert isinstance(await session.is_told(1), Configure)


async def test_many_sessions_share_a_slot(bench: RealtimeBench, engine: ScriptedEngine) -> None:
    async def one(number: int) -> str:
        async with bench.client() as client:
            await client.say(SECOND[: 4800 * (number + 1)])
            await client.connection.input_audio_buffer.commit()
            events = await client.until("conversation.item.input_audio_transcription.completed")
            return str(events[-1].transcript)

    clients = [asyncio.create_task(one(number)) for number in range(8)]
    sessions = [await engine.session(number) for number in range(8)]
    await asyncio.gather(*map(answer, sessions))
    assert sorted(await asyncio.gather(*clients)) == [f"{number + 1} tenths" for number in range(8)]


async def answer(session: EngineSession) -> None:
    """With what the whole of its audio is worth."""
    await session.is_told(1)
    tenths = round(session.seconds * 10)
    await session.say(Committed(utterance=0, start_s=0, end_s=session.seconds), heard(0, f"{tenths} tenths"))
