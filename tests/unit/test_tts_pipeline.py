"""Sentences that are computed while others are heard."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from providers.errors import InvalidRequest
from providers.native.workers import Workers
from providers.tts import pipeline as subject
from providers.tts.pipeline import Pipeline
from providers.tts.pipeline_sound import MARGIN_S
from providers.tts.synthesizer import Manner, Share
from tests.support.asr_bench import until
from tests.support.pitch import pitch
from tests.support.tts_bench import LOW, samples_of
from tests.support.tts_voice import LETTER_S, LOUDNESS, ToneVoice, frequency

PAUSE_S = 0.2
FOUR = "One. Two. Three. Four."


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(2, "tts")
    yield made
    assert await made.idle(30)
    made.close(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tts")]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def sounds(voice: ToneVoice, workers: Workers, text: str, manner: Manner = LOW) -> list[bytes]:
    async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: False).sounds(text, manner)) as found:
        return [sound async for sound in found]


async def settled(voice: ToneVoice) -> list[str]:
    """What has been begun when nothing more is."""
    before: list[str] | None = None
    while before != voice.begun or voice.iterators_open:
        before = list(voice.begun)
        await asyncio.sleep(0.1)
    return before


async def test_every_sentence_is_spoken_with_its_pause(workers: Workers) -> None:
    voice = ToneVoice()
    made = await sounds(voice, workers, "Ab. Cd ef.\n\nG.")
    assert voice.begun == ["Ab.", "Cd ef.", "G."] and not voice.iterators_open
    lengths = [len(sound) / 2 / voice.sample_rate for sound in made]
    spoken = [letters * LETTER_S + 2 * MARGIN_S for letters in (2, 4, 1)]
    assert lengths == pytest.approx([spoken[0] + PAUSE_S, spoken[1] + 2 * PAUSE_S, spoken[2]], abs=0.002)
    whole = samples_of(b"".join(made))
    at = round((MARGIN_S + LETTER_S * 0.1) * voice.sample_rate)
    assert pitch(whole[at:][: round(LETTER_S * 0.8 * voice.sample_rate)], voice.sample_rate) == pytest.approx(
        frequency("a"), rel=0.02
    )
    steepest = 2 * np.pi * max(frequency(letter) for letter in "abcdefg") / voice.sample_rate * LOUDNESS
    assert np.abs(np.diff(whole)).max() <= steepest * 1.05, "joins do not click"


async def test_pauses_follow_the_speed(workers: Workers) -> None:
    (slow, _), (fast, _) = [
        await sounds(ToneVoice(), workers, "Abcd. E.", Manner(blend=(Share("low"),), speed=speed)) for speed in (0.5, 2)
    ]
    assert len(slow) / 16_000 == pytest.approx(4 * LETTER_S * 2 + PAUSE_S * 2 + 2 * MARGIN_S, abs=0.003)
    assert len(fast) / 16_000 == pytest.approx(4 * LETTER_S / 2 + PAUSE_S / 2 + 2 * MARGIN_S, abs=0.003)


async def test_the_first_is_given_out_before_the_second_is_computed(workers: Workers) -> None:
    voice = ToneVoice()
    voice.gate.clear()
    voice.passes.release()
    async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: False).sounds(FOUR, LOW)) as found:
        assert await anext(found)
        await until(lambda: voice.begun == ["One.", "Two."])
        voice.gate.set()
        assert len([sound async for sound in found]) == 3


async def test_two_sentences_are_computed_ahead_and_no_more(workers: Workers) -> None:
    voice = ToneVoice()
    text = " ".join(f"Number {number}." for number in range(20))
    async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: False).sounds(text, LOW)) as found:
        for taken in range(1, 5):
            assert await anext(found)
            assert len(await settled(voice)) == taken + 2
        assert len([sound async for sound in found]) == 16
    assert voice.most_at_once == 1


async def test_after_a_very_long_one_none_is_computed_until_it_is_taken(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "LONG_S", 0.5)
    voice = ToneVoice()
    async with aclosing(
        Pipeline(voice, workers, PAUSE_S, lambda: False).sounds("Ah. Bcdefghijklmno. Cd. De.", LOW)
    ) as found:
        assert await anext(found)
        assert await settled(voice) == ["Ah.", "Bcdefghijklmno."]
        assert len([sound async for sound in found]) == 3


async def test_who_leaves_stops_it_after_the_current_sentence(workers: Workers) -> None:
    voice = ToneVoice()
    voice.gate.clear()
    voice.passes.release()
    async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: False).sounds(FOUR, LOW)) as found:
        assert await anext(found)
        await until(lambda: len(voice.begun) == 2)
    voice.gate.set()
    assert await settled(voice) == ["One.", "Two."] and voice.words == ["One."]


async def test_who_has_left_before_is_not_spoken_to(workers: Workers) -> None:
    voice = ToneVoice()
    async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: True).sounds(FOUR, LOW)) as found:
        assert await anext(found, None) is None
    assert voice.begun == []


async def test_who_leaves_while_a_sentence_waits_for_a_thread_does_not_hear_of_it() -> None:
    voice, left, busy = ToneVoice(), False, threading.Event()
    alone = Workers(1, "tts")
    async with aclosing(Pipeline(voice, alone, PAUSE_S, lambda: left).sounds(FOUR, LOW)) as found:
        voice.gate.clear()
        voice.passes.release()
        assert await anext(found)
        await until(lambda: len(voice.begun) == 2)
        other = asyncio.create_task(alone.run(busy.wait, 30))
        await asyncio.sleep(0)
        voice.gate.set()
        await until(lambda: voice.words == ["One.", "Two."] and not voice.iterators_open)
        left = True
        busy.set()
        assert len([sound async for sound in found]) <= 1
        assert await other
    assert voice.begun == ["One.", "Two."]
    alone.close(wait=True)


async def test_a_cancelled_listener_leaves_nothing(workers: Workers) -> None:
    voice = ToneVoice()
    voice.gate.clear()
    listening = asyncio.create_task(sounds(voice, workers, FOUR))
    await until(lambda: bool(voice.begun))
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    voice.gate.set()
    assert await settled(voice) == ["One."] and voice.words == []


async def test_errors_come_after_the_sentences_before_them(workers: Workers) -> None:
    for word, error in (("One", RuntimeError), ("Three", InvalidRequest)):
        voice = ToneVoice()
        setattr(voice, "fails_on" if error is RuntimeError else "refuses", word)
        heard = []
        with pytest.raises(error):
            async with aclosing(Pipeline(voice, workers, PAUSE_S, lambda: False).sounds(FOUR, LOW)) as found:
                async for sound in found:
                    heard.append(sound)
        assert len(heard) == {"One": 0, "Three": 2}[word] and voice.begun[-1] == f"{word}."
        assert not voice.iterators_open


async def test_an_unknown_voice_is_refused_before_anything_is_computed(workers: Workers) -> None:
    voice = ToneVoice()
    with pytest.raises(InvalidRequest, match="no voice nobody"):
        await sounds(voice, workers, FOUR, Manner(blend=(Share("nobody"),)))
    assert voice.begun == []
