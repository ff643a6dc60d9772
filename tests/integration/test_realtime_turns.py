"""Realtime sessions whose slot has to give way to others: between utterances, and without a word being lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from providers.asr.messages import (
    Clear,
    Cleared,
    Commit,
    Committed,
    Configure,
    Final,
    Partial,
    SpeechStarted,
    SpeechStopped,
    TurnDetection,
)
from providers.asr.recognizer import SAMPLE_RATE, Asked, Segment
from serve_app.audio import live_account, live_visit
from serve_app.audio.realtime_session import Limits
from tests.support.realtime_bench import Client, RealtimeBench, SlotBench, asr_slot, realtime_bench
from tests.support.realtime_engine import PATIENCE_S, EngineSession, ScriptedEngine, until

BEFORE_S = 1.46
"""Of silence, what the next engine hears again."""
AT_16_KHZ: Any = {"type": "audio/pcm", "rate": SAMPLE_RATE}
COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture
def first() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def second() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def bench(first: ScriptedEngine, second: ScriptedEngine) -> AsyncIterator[RealtimeBench]:
    async with realtime_bench(SlotBench(asr_slot(), [first, second])) as bench:
        yield bench


def audio(first_s: float, last_s: float) -> bytes:
    """Each sample is another than those near it."""
    numbers = np.arange(round(first_s * SAMPLE_RATE), round(last_s * SAMPLE_RATE))
    return (numbers % 32_768).astype("<i2").tobytes()


def heard(utterance: int, text: str) -> Final:
    return Final(utterance=utterance, segments=(Segment(text, 0.0, 1.0),))


async def set_to(client: Client, **audio_input: Any) -> None:
    """OpenAI's own types do not know of 16 kHz, at which what is sent is what the engine gets."""
    session: Any = {"type": "transcription", "audio": {"input": {"format": AT_16_KHZ, **audio_input}}}
    await client.connection.session.update(session=session)
    assert (await client.connection.recv()).type == "session.updated"


async def begun(client: Client, engine: ScriptedEngine, seconds: float = 3.0, **settings: Any) -> EngineSession:
    """A session that has heard so much."""
    await set_to(client, **settings)
    await client.say(audio(0, seconds))
    session = await engine.session()
    await session.has(seconds)
    return session


def held(bench: RealtimeBench) -> SlotBench:
    """The board has said that the slot's turn is over."""
    slot = bench.slots["ears"]
    slot.pool.hold(True)
    return slot


async def parted(session: EngineSession, slot: SlotBench, controls: int = 1) -> None:
    """The engine forgets, and then its place is free."""
    assert isinstance(await session.is_told(controls), Clear)
    assert slot.pool.traffic.in_flight == 1
    await session.say(Cleared())
    await asyncio.wait_for(session.over.wait(), PATIENCE_S)
    await until(lambda: slot.pool.traffic.in_flight == 0)


async def given_way(slot: SlotBench, session: EngineSession, controls: int = 1) -> None:
    """The slot has its next turn, on a fresh engine."""
    await parted(session, slot, controls)
    slot.replaced()
    slot.pool.hold(False)


async def stays(session: EngineSession, controls: int = 0) -> None:
    """Longer than it takes to notice that the lease is wanted back."""
    await asyncio.sleep(2 * live_visit.LOOK_S)
    assert len(session.controls) == controls and not session.over.is_set()


# In silence.


@pytest.mark.parametrize("how", ["held", "stopped"])
async def test_in_silence_a_lease_that_is_wanted_comes_back(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine, how: str
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        slot = bench.slots["ears"]
        if how == "held":
            await given_way(held(bench), session)
        else:
            slot.replaced()
            await parted(session, slot)
        assert slot.in_use == 0, "who says nothing asks for nothing"
        await client.say(audio(3, 4))
        again = await second.session()
        await again.has(BEFORE_S + 1)
        assert bytes(again.audio) == audio(3 - BEFORE_S, 4)
        assert again.start == session.start
        await again.say(SpeechStarted(utterance=0, at_s=1.0), SpeechStopped(utterance=0, at_s=2.0))
        await again.say(Committed(utterance=0, start_s=1.0, end_s=2.0), heard(0, "one"))
        events = await client.until(COMPLETED)
        assert events[0].type == "input_audio_buffer.speech_started"
        assert (events[0].audio_start_ms, events[1].audio_end_ms) == (2540, 3540)
        assert events[-1].transcript == "one"


async def test_who_says_more_waits_for_the_next_turn(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        slot = held(bench)
        slot.pool.hold(False)
        session = await begun(client, first)
        slot.pool.hold(True)
        await parted(session, slot)
        for second in range(3, 6):
            await client.say(audio(second, second + 1))
        await until(lambda: slot.pool.traffic.queued == 1)
        await asyncio.sleep(0.1)
        assert (slot.pool.traffic.queued, len(first.sessions)) == (1, 1)
        slot.pool.hold(False)
        again = await first.session(1)
        await again.has(BEFORE_S + 3)
        assert bytes(again.audio) == audio(3 - BEFORE_S, 6)


async def test_waiting_for_a_turn_is_not_being_too_many(
    bench: RealtimeBench, first: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.audio.realtime.TURN_S", 0.1)
    async with bench.client() as client:
        session = await begun(client, first)
        slot = held(bench)
        await parted(session, slot)
        await client.say(audio(3, 4))
        await until(lambda: slot.pool.traffic.queued == 1)
        await asyncio.sleep(0.3)
        slot.pool.hold(False)
        await (await first.session(1)).has(BEFORE_S + 1)


async def test_a_slot_that_gives_way_again_and_again_loses_no_time(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        await set_to(client)
        for number in range(4):
            await client.say(audio(number, number + 1))
            session = await first.session(number)
            await session.has(min(number, BEFORE_S) + 1)
            slot = held(bench)
            await parted(session, slot)
            slot.pool.hold(False)
        await client.say(audio(4, 5))
        last = await first.session(4)
        await last.has(BEFORE_S + 1)
        assert bytes(last.audio) == audio(4 - BEFORE_S, 5)
        await last.say(SpeechStarted(utterance=0, at_s=2.0))
        assert (await client.event()).audio_start_ms == round((4 - BEFORE_S + 2) * 1000)


async def test_a_silent_client_is_still_sent_home(first: ScriptedEngine) -> None:
    async with (
        realtime_bench(SlotBench(asr_slot(), [first]), limits=Limits(idle_s=0.5)) as bench,
        bench.client() as client,
    ):
        session = await begun(client, first)
        await parted(session, held(bench))
        assert (await client.error()).code == "session_idle"


async def test_what_changes_meanwhile_holds_for_the_next_engine(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        await given_way(held(bench), session)
        turns = {"type": "server_vad", "prefix_padding_ms": 0}
        await set_to(client, transcription={"prompt": "later"}, turn_detection=turns)
        again = await second.session()
        assert again.start.asked == Asked(prompt="later")
        assert again.start.turns == TurnDetection(prefix_padding_ms=0)
        await again.has(BEFORE_S)


async def test_what_is_cleared_meanwhile_is_not_heard_again(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        await given_way(held(bench), session)
        await client.connection.input_audio_buffer.clear()
        assert (await client.event()).type == "input_audio_buffer.cleared"
        await client.say(audio(3, 4))
        again = await second.session()
        await again.has(1.0)
        assert bytes(again.audio) == audio(3, 4)
        await again.say(SpeechStarted(utterance=0, at_s=0.5))
        assert (await client.event()).audio_start_ms == 3500


# In the middle of something.


async def test_an_utterance_is_heard_to_its_end_before(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        await session.say(SpeechStarted(utterance=0, at_s=2.0))
        started = await client.event()
        slot = held(bench)
        await stays(session)
        await client.say(audio(3, 4))
        await session.has(4.0)
        await session.say(SpeechStopped(utterance=0, at_s=3.5), Committed(utterance=0, start_s=2.0, end_s=3.5))
        assert isinstance(await session.is_told(1), Clear)
        await session.say(Cleared())
        await asyncio.sleep(0.1)
        assert slot.pool.traffic.in_flight == 1, "its text is still to come"
        await session.say(heard(0, "two three"))
        events = await client.until(COMPLETED)
        assert events[-1].transcript == "two three"
        await asyncio.wait_for(session.over.wait(), PATIENCE_S)
        await until(lambda: slot.in_use == 0)
        slot.replaced()
        slot.pool.hold(False)
        await client.say(audio(4, 5))
        again = await second.session()
        await again.has(1.5)
        assert bytes(again.audio) == audio(3.5, 5), "nothing of what has become text"
        await again.say(SpeechStarted(utterance=0, at_s=1.0), Committed(utterance=0, start_s=1.0, end_s=1.4))
        speech, committed, *_ = await client.events(4)
        assert speech.audio_start_ms == 4500
        assert speech.item_id != started.item_id and committed.previous_item_id == started.item_id


async def test_a_slot_that_may_stay_after_all_keeps_its_session(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        await session.say(SpeechStarted(utterance=0, at_s=2.0))
        await client.event()
        slot = held(bench)
        await stays(session)
        slot.pool.hold(False)
        await session.say(Committed(utterance=0, start_s=2.0, end_s=2.9), heard(0, "two"))
        await client.until(COMPLETED)
        await stays(session)


async def test_speech_that_begins_in_the_very_moment_is_for_the_next_engine(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first, 10.0)
        slot = held(bench)
        await session.is_told(1)
        await session.say(SpeechStarted(utterance=0, at_s=7.0), Partial(utterance=0, text="se"))
        await given_way(slot, session)
        await client.say(audio(10, 11))
        again = await second.session()
        await again.has(4.0)
        assert bytes(again.audio) == audio(7, 11)
        await again.say(SpeechStarted(utterance=0, at_s=0.0))
        event = await client.event()
        assert (event.type, event.audio_start_ms) == ("input_audio_buffer.speech_started", 7000)


async def test_speech_that_has_ended_in_that_moment_is_told(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        slot = held(bench)
        await session.is_told(1)
        await session.say(SpeechStarted(utterance=0, at_s=1.0), Partial(utterance=0, text="one"))
        await session.say(SpeechStopped(utterance=0, at_s=2.0), Committed(utterance=0, start_s=1.0, end_s=2.0))
        await session.say(heard(0, "one"), SpeechStarted(utterance=1, at_s=2.5))
        await parted(session, slot)
        events = await client.until(COMPLETED)
        kinds = [event.type.rpartition(".")[2] for event in events]
        assert kinds == ["speech_started", "speech_stopped", "committed", "added", "done", "delta", "completed"]
        slot.pool.hold(False)
        await client.say(audio(3, 4))
        again = await first.session(1)
        await again.has(2.0)
        assert bytes(again.audio) == audio(2, 4)


async def test_one_who_never_stops_speaking_is_heard_on_by_the_next_engine(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_visit, "PATIENCE_S", 0.5)
    async with bench.client() as client:
        session = await begun(client, first)
        await session.say(SpeechStarted(utterance=0, at_s=1.0))
        await session.say(Partial(utterance=0, text="one"), Partial(utterance=0, text="one two"))
        started, delta = await client.events(2)
        assert delta.delta == "one"
        await given_way(held(bench), session)
        await client.say(audio(3, 4))
        again = await second.session()
        await again.has(3.0)
        assert bytes(again.audio) == audio(1, 4)
        await again.say(SpeechStarted(utterance=0, at_s=0.0), Partial(utterance=0, text="one two three"))
        await again.say(SpeechStopped(utterance=0, at_s=3.0), Committed(utterance=0, start_s=0.0, end_s=3.0))
        await again.say(heard(0, "one two three"))
        events = await client.until(COMPLETED)
        assert [event.delta for event in events if event.type.endswith("delta")] == [" two", " three"]
        assert not [event for event in events if event.type.endswith("speech_started")]
        assert events[-1].item_id == started.item_id
        assert events[-1].transcript == "one two three"


async def test_a_clients_clear_is_answered_as_such(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        await client.connection.input_audio_buffer.clear()
        await session.is_told(1)
        slot = held(bench)
        await session.is_told(2)
        await session.say(SpeechStarted(utterance=0, at_s=2.0), Cleared())
        assert (await client.event()).type == "input_audio_buffer.cleared"
        await parted(session, slot, 2)
        slot.pool.hold(False)
        await client.say(audio(3, 4))
        again = await first.session(1)
        await again.has(1.0)
        assert bytes(again.audio) == audio(3, 4)


async def test_what_waits_for_a_slow_engine_goes_to_the_next(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        slot = held(bench)
        await session.is_told(1)
        await client.say(audio(3, 4))
        await set_to(client, transcription={"prompt": "later"})
        await client.say(audio(4, 5))
        await client.connection.input_audio_buffer.commit()
        await session.say(Cleared())
        await asyncio.wait_for(session.over.wait(), PATIENCE_S)
        await until(lambda: slot.pool.traffic.queued == 1)
        slot.replaced()
        slot.pool.hold(False)
        again = await second.session()
        assert isinstance(await again.is_told(2), Commit)
        assert again.start.asked == Asked()
        (at, configured), (end, _) = again.controls
        assert isinstance(configured, Configure) and configured.asked == Asked(prompt="later")
        assert at == len(audio(3 - BEFORE_S, 4)) and end == len(audio(3 - BEFORE_S, 5))
        assert bytes(again.audio) == audio(3 - BEFORE_S, 5)


# Without detection.


async def test_without_detection_a_commit_is_waited_for(bench: RealtimeBench, first: ScriptedEngine) -> None:
    async with bench.client() as client:
        session = await begun(client, first, turn_detection=None)
        slot = held(bench)
        await stays(session)
        await client.connection.input_audio_buffer.commit()
        assert isinstance(await session.is_told(1), Commit)
        await stays(session, controls=1)
        await session.say(Committed(utterance=0, start_s=0, end_s=3), heard(0, "all"))
        assert (await client.until(COMPLETED))[-1].transcript == "all"
        await parted(session, slot, 2)
        assert slot.in_use == 0


@pytest.mark.parametrize("more", [True, False])
async def test_but_not_for_ever_and_what_it_was_for_is_heard_by_the_next_engine(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, more: bool
) -> None:
    monkeypatch.setattr(live_visit, "PATIENCE_S", 0.5)
    async with bench.client() as client:
        session = await begun(client, first, turn_detection=None)
        slot = held(bench)
        await given_way(slot, session)
        assert slot.in_use == 0
        end = 4 if more else 3
        await client.say(audio(3, end))
        await client.connection.input_audio_buffer.commit()
        again = await second.session()
        assert isinstance(await again.is_told(1), Commit)
        assert bytes(again.audio) == audio(0, end)
        await again.say(Committed(utterance=0, start_s=0, end_s=end), heard(0, "all"))
        events = await client.until(COMPLETED)
        assert events[-1].usage.seconds == end
        await client.connection.input_audio_buffer.commit()
        assert (await client.error()).code == "input_audio_buffer_commit_empty"


async def test_more_than_is_kept_is_lost_and_that_is_told(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_visit, "PATIENCE_S", 0.3)
    monkeypatch.setattr(live_account, "MOST_KEPT_S", 2.0)
    async with bench.client() as client:
        session = await begun(client, first, turn_detection=None)
        await given_way(held(bench), session)
        error = await client.error()
        assert (error.code, error.type) == ("input_audio_buffer_lost", "server_error")
        assert "1.0 s" in error.message
        await client.say(audio(3, 4))
        again = await second.session()
        await again.has(3.0)
        assert bytes(again.audio) == audio(1, 4)


# When something is wrong besides.


async def test_an_engine_that_dies_instead_of_forgetting_is_replaced(
    bench: RealtimeBench, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with bench.client() as client:
        session = await begun(client, first)
        slot = held(bench)
        await session.is_told(1)
        session.die()
        assert (await client.error()).code == "engine_died"
        slot.pool.hold(False)
        await client.say(audio(3, 4))
        again = await second.session()
        await again.has(1.0)
        assert bytes(again.audio) == audio(3, 4)


@pytest.mark.parametrize("when", ["parting", "waiting"])
async def test_a_client_that_leaves_meanwhile_leaves_nothing(
    bench: RealtimeBench, first: ScriptedEngine, when: str
) -> None:
    """What is left, the bench would find."""
    slot = bench.slots["ears"]
    async with bench.client() as client:
        session = await begun(client, first)
        held(bench)
        if when == "parting":
            await session.is_told(1)
        else:
            await parted(session, slot)
            await client.say(audio(3, 4))
            await until(lambda: slot.pool.traffic.queued == 1)
    await asyncio.wait_for(session.over.wait(), PATIENCE_S)
    await until(lambda: slot.in_use == 0)
