"""Files of speech through the whole ingress: OpenAI's client, real sockets, a real engine, and ones that misbehave."""

import asyncio
import gc
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest
import srt as subrip  # type: ignore[import-untyped]
import webvtt

from providers.asr.dialect import Features
from providers.asr.messages import Done, Failed, Heard, SpeechStarted, TurnDetection
from providers.asr.recognizer import Asked, Segment
from providers.tiny.tones import tones
from serve_app.audio.decode import MOST_BAD, Source
from serve_app.audio.upload import UploadLimits
from serve_app.errors import LoadFailed
from tests.support.asr_ear import Ear
from tests.support.audio_bench import AudioBench, EarEngine, ScriptedEngine, Session, audio_bench, ears, until
from tests.support.audio_files import breaking_file, sound_file
from tests.support.realtime_bench import SlotBench

RATE = 48_000
SAID = "alpha bravo charlie"
SPEECH = tones(["alpha", "bravo"], before_s=0.5, after_s=1.0, rate=RATE)
MORE = tones(["charlie"], after_s=0.8, rate=RATE)
WAV = sound_file(np.concatenate((SPEECH, MORE)), RATE)
SECONDS = (len(SPEECH) + len(MORE)) / RATE


@pytest.fixture
async def real() -> AsyncIterator[AudioBench]:
    async with audio_bench(SlotBench(ears(), [EarEngine()])) as bench:
        yield bench


async def transcribed(bench: AudioBench, content: bytes = WAV, **more: Any) -> Any:
    return await bench.client.audio.transcriptions.create(**({"model": "ears", "file": content} | more))


async def refused(bench: AudioBench, content: bytes = WAV, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        await transcribed(bench, content, **more)
    return error.value


async def streamed(bench: AudioBench, content: bytes = WAV, **more: Any) -> list[Any]:
    return [event async for event in await transcribed(bench, content, stream=True, **more)]


async def failing_stream(bench: AudioBench, **more: Any) -> tuple[list[str], openai.APIError]:
    """The deltas before the failure, and the failure."""
    deltas: list[str] = []
    with pytest.raises(openai.APIError) as error:
        async for event in await transcribed(bench, stream=True, **more):
            deltas.append(event.delta)
    return deltas, error.value


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("mp4", "aac"), ("webm", "libopus"), ("flac", "flac")],
)
async def test_json(real: AudioBench, container: str, codec: str) -> None:
    content = sound_file(np.concatenate((SPEECH, MORE)), RATE, container, codec, "stereo")
    answer = await transcribed(real, content)
    assert answer.text == SAID
    assert answer.usage.to_dict() == {"type": "duration", "seconds": 4}


async def test_plain_formats(real: AudioBench) -> None:
    assert await transcribed(real, response_format="text") == f"{SAID}\n"
    for text, parsed in (
        (await transcribed(real, response_format="srt"), subrip.parse),
        (await transcribed(real, response_format="vtt"), lambda text: webvtt.from_buffer(io.StringIO(text)).captions),
    ):
        first, second = parsed(text)
        assert [getattr(cue, "content", None) or cue.text for cue in (first, second)] == ["alpha bravo", "charlie"]


async def test_verbose_json(real: AudioBench) -> None:
    granularities = ["word", "segment"]
    answer = await transcribed(real, response_format="verbose_json", timestamp_granularities=granularities)
    assert (answer.text, answer.language, answer.task) == (SAID, "english", "transcribe")
    assert answer.duration == pytest.approx(SECONDS, abs=0.01)
    assert [segment.text for segment in answer.segments] == ["alpha bravo", " charlie"]
    assert [word.word for word in answer.words] == SAID.split()
    for word, start_s in zip(answer.words, (0.5, 0.74, 1.98), strict=True):
        assert word.start == pytest.approx(start_s, abs=0.05)


@pytest.mark.parametrize("format", ["json", "text", "srt", "verbose_json"])
async def test_a_stream_is_events_whatever_the_format(real: AudioBench, format: str) -> None:
    *deltas, done = await streamed(real, response_format=format)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert [event.delta for event in deltas] == ["alpha bravo", " charlie"]
    assert (done.type, done.text) == ("transcript.text.done", SAID)
    assert done.usage.to_dict() == {"type": "duration", "seconds": 4}


async def test_each_segment_is_sent_when_it_is_heard() -> None:
    told, go_on = asyncio.Event(), asyncio.Event()

    async def way(session: Session) -> None:
        await session.read()
        await session.tell(Heard(segment=Segment(" one", 0, 1)))
        told.set()
        await go_on.wait()
        await session.tell(Heard(segment=Segment(" two", 1, 2)), Done(duration_s=2))

    async with audio_bench(SlotBench(ears(), [ScriptedEngine(way)])) as bench:
        events = aiter(await transcribed(bench, stream=True))
        assert (await anext(events)).delta == "one"
        go_on.set()
        assert (await anext(events)).delta == " two"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_translation() -> None:
    ear = Ear()
    async with audio_bench(SlotBench(ears(), [EarEngine(ear)])) as bench:
        answer: Any = await bench.client.audio.translations.create(
            model="ears", file=WAV, response_format="verbose_json", prompt="names"
        )
    assert (answer.task, answer.language, answer.text) == ("translate", "english", SAID)
    assert all(asked.translate and asked.prompt == "names" for asked in ear.asked[1:])


async def test_what_is_asked_reaches_the_engine() -> None:
    engine = ScriptedEngine(says("ok"))
    async with audio_bench(SlotBench(ears(), [engine])) as bench:
        await transcribed(
            bench,
            language="en-US",
            prompt="names",
            temperature=0.5,
            response_format="verbose_json",
            timestamp_granularities=["word"],
            chunking_strategy={"type": "server_vad", "threshold": 0.6},
            keywords=["Ray"],
        )
        await transcribed(bench)
    first, second = (session.start for session in engine.sessions)
    assert first is not None and second is not None
    assert first.asked == Asked(language="en", prompt="names", temperature=0.5, word_times=True, keywords=("Ray",))
    assert (first.turns, first.live) == (TurnDetection(threshold=0.6), False)
    assert (second.asked, second.turns) == (Asked(), None)


def says(text: str) -> Any:
    async def way(session: Session) -> None:
        await session.read()
        await session.tell(Heard(segment=Segment(text, 0, 1)), Done(duration_s=1))

    return way


async def test_all_of_the_sound_reaches_the_engine() -> None:
    engine = ScriptedEngine(says("ok"))
    async with audio_bench(SlotBench(ears(), [engine])) as bench:
        await transcribed(bench)
    assert engine.sessions[0].ended
    assert engine.sessions[0].audio_bytes == pytest.approx(SECONDS * 32_000, abs=4)


async def test_many_at_once_get_their_own() -> None:
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"]
    async with audio_bench(SlotBench(ears(), [EarEngine()], capacity=2)) as bench:
        files = [sound_file(tones([word], after_s=0.6, rate=RATE), RATE) for word in words * 2]
        answers = await asyncio.gather(*(transcribed(bench, file) for file in files))
    assert [answer.text for answer in answers] == words * 2


# What is wrong with the request.


async def test_a_file_that_is_none_wakes_no_slot() -> None:
    slot = SlotBench(ears(), [EarEngine()])
    async with audio_bench(slot) as bench:
        error = await refused(bench, b"no sound")
    assert (error.status_code, error.code, error.param) == (400, "invalid_audio", "file")
    assert slot.opened == 0


async def test_a_model_that_is_not_there(real: AudioBench) -> None:
    error = await refused(real, model="nose")
    assert (error.status_code, error.code) == (404, "model_not_found")


async def test_a_slot_that_cannot() -> None:
    async with audio_bench(SlotBench(ears("mute", capabilities=("chat",)), []), SlotBench(ears(), [])) as bench:
        error = await refused(bench, model="mute")
    assert (error.status_code, error.code) == (400, "unsupported_capability")
    assert "Slots that can: ears." in error.message


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"language": "de"}, "unsupported_language", "language"),
        ({"keywords": ["Ray"]}, "unsupported_keywords", "keywords"),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
            "unsupported_timestamps",
            "timestamp_granularities[]",
        ),
    ],
)
async def test_what_a_model_cannot_do_is_refused_with_those_that_can(
    asked: dict[str, Any], code: str, param: str
) -> None:
    features = {"simple": Features(languages=frozenset({"en"})), "plain": Features(languages=frozenset({"en"}))}
    slots = [SlotBench(ears(name), []) for name in ("simple", "able", "plain", "best")]
    async with audio_bench(*slots, features=features) as bench:
        error = await refused(bench, model="simple", **asked)
    assert (error.status_code, error.code, error.param) == (400, code, param)
    assert error.message.count("Slots that can: able, best.") == 1
    async with audio_bench(SlotBench(ears("simple"), []), features=features) as bench:
        assert "No slot of this server can." in (await refused(bench, model="simple", **asked)).message


async def test_what_is_no_form(real: AudioBench) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{real.url}/v1/audio/transcriptions", json={"model": "ears"}) as response,
    ):
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_file_that_is_too_large() -> None:
    async with audio_bench(SlotBench(ears(), []), limits=UploadLimits(max_bytes=10_000)) as bench:
        error = await refused(bench)
    assert (error.status_code, error.code) == (413, "request_too_large")


async def test_a_priority_that_is_none(real: AudioBench) -> None:
    error = await refused(real, extra_headers={"x-hal0-priority": "high"})
    assert (error.status_code, error.code) == (400, "invalid_priority")


# What goes wrong with engines.


async def dies(session: Session) -> None:
    await session.read(until_bytes=1)


async def is_stopped(session: Session) -> None:
    await session.read()
    await session.tell(Failed(message="The model is being unloaded.", status=503))


class NoEngine(ScriptedEngine):
    """Nobody listens where it says."""

    async def start(self) -> Any:
        endpoint = await super().start()
        await self.stop()
        return endpoint


@pytest.mark.parametrize("first", [ScriptedEngine(dies), ScriptedEngine(is_stopped), NoEngine(dies)])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_goes_away_is_replaced_once(first: ScriptedEngine, stream: bool) -> None:
    first = type(first)(*first._ways)
    slot = SlotBench(ears(), [first, EarEngine()])
    async with audio_bench(slot) as bench:
        text = (await streamed(bench))[-1].text if stream else (await transcribed(bench)).text
    assert text == SAID
    assert slot.opened == 2 and slot.suspects[1] == "s3cret"


async def test_two_that_go_away_are_an_error() -> None:
    slot = SlotBench(ears(), [ScriptedEngine(dies), ScriptedEngine(dies)])
    async with audio_bench(slot) as bench:
        error = await refused(bench)
    assert (error.status_code, error.code) == (502, "engine_died")
    assert slot.opened == 2


async def dies_in_the_middle(session: Session) -> None:
    await session.read()
    await session.tell(Heard(segment=Segment("half", 0, 1)))


async def test_an_engine_that_dies_in_the_middle() -> None:
    slot = SlotBench(ears(), [ScriptedEngine(dies_in_the_middle)])
    async with audio_bench(slot) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (502, "engine_died")
        deltas, failure = await failing_stream(bench)
    assert (deltas, failure.code) == (["half"], "engine_died")
    assert slot.opened == 1


@pytest.mark.parametrize(("status", "type"), [(400, "invalid_request_error"), (500, "server_error")])
async def test_an_error_of_the_engine_is_the_clients(status: int, type: str) -> None:
    async def way(session: Session) -> None:
        await session.read()
        await session.tell(Failed(message="It cannot.", status=status, code="no_way", param="prompt"))

    slot = SlotBench(ears(), [ScriptedEngine(way)])
    async with audio_bench(slot) as bench:
        error = await refused(bench)
    assert (error.status_code, error.code, error.param, error.type) == (status, "no_way", "prompt", type)
    assert "It cannot." in error.message
    assert slot.opened == 1


@pytest.mark.parametrize(
    "nonsense", ['{"type": "sung"}', "nothing", SpeechStarted(utterance=0, at_s=0).model_dump_json()]
)
async def test_an_engine_that_talks_nonsense(nonsense: str) -> None:
    async def way(session: Session) -> None:
        await session.read()
        await session.tell_raw(nonsense)

    async with audio_bench(SlotBench(ears(), [ScriptedEngine(way)])) as bench:
        error = await refused(bench)
    assert (error.status_code, error.code) == (502, "engine_died")


async def test_a_recognizer_that_breaks() -> None:
    async with audio_bench(SlotBench(ears(), [EarEngine(Ear(fails_on="charlie"))])) as bench:
        assert (await refused(bench)).status_code == 500
        deltas, failure = await failing_stream(bench)
    assert deltas == ["alpha bravo"]
    assert "Traceback" not in failure.message


async def test_a_slot_that_does_not_load() -> None:
    slot = SlotBench(ears(), [], failure=LoadFailed("ears", "model_missing", "it is not there"))
    async with audio_bench(slot) as bench:
        error = await refused(bench)
    assert (error.status_code, error.code) == (503, "model_missing")


async def test_a_stream_is_kept_alive_while_its_slot_loads() -> None:
    slot = SlotBench(ears(), [EarEngine()])
    slot.load.clear()
    async with audio_bench(slot) as bench, aiohttp.ClientSession() as http:
        form = aiohttp.FormData({"model": "ears", "stream": "true"})
        form.add_field("file", WAV, filename="speech.wav")
        async with http.post(f"{bench.url}/v1/audio/transcriptions", data=form) as response:
            assert await response.content.readline() == b": keep-alive\n"
            slot.load.set()
            rest = (await response.read()).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in rest.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]


async def hangs(session: Session) -> None:
    await session.read()
    await session.tell(Heard(segment=Segment("half", 0, 1)))
    await session.gone()


async def test_the_time_limit_of_the_slot() -> None:
    engine = ScriptedEngine(hangs)
    async with audio_bench(SlotBench(ears(request_timeout_s=0.5), [engine])) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (504, "request_timeout")
        deltas, failure = await failing_stream(bench)
        assert (deltas, failure.code) == (["half"], "request_timeout")
        await until(lambda: engine.open == 0)


# What goes wrong with files and clients.


BREAKING = breaking_file(good=500, bad=MOST_BAD + 100)


async def test_a_file_that_breaks_in_the_middle_before_anything_is_heard() -> None:
    slot = SlotBench(ears(), [ScriptedEngine(says("ok"))])
    async with audio_bench(slot) as bench:
        error = await refused(bench, BREAKING)
    assert (error.status_code, error.code) == (400, "invalid_audio")
    assert "its sound is broken" in error.message
    assert slot.opened == 1


async def test_a_file_that_breaks_after_something_was_heard() -> None:
    async def way(session: Session) -> None:
        await session.read(until_bytes=1)
        await session.tell(Heard(segment=Segment("half", 0, 1)))
        await session.read()

    async with audio_bench(SlotBench(ears(), [ScriptedEngine(way)])) as bench:
        deltas, failure = await failing_stream(bench, file=BREAKING)
    assert (deltas, failure.code) == (["half"], "invalid_audio")


async def does_not_listen(session: Session) -> None:
    await session.read(until_bytes=1)
    await asyncio.Event().wait()


@pytest.mark.parametrize("way", [hangs, does_not_listen])
async def test_a_client_that_leaves_stops_everything(way: Any) -> None:
    engine = ScriptedEngine(way)
    slot = SlotBench(ears(), [engine])
    long = sound_file(np.zeros(600 * 16_000, np.float32), 16_000)
    async with audio_bench(slot) as bench:
        task = asyncio.create_task(transcribed(bench, long))
        await until(lambda: bool(engine.sessions) and engine.sessions[0].audio_bytes > 0)
        assert slot.in_use == 1
        task.cancel()
        await until(lambda: slot.in_use == 0)
        if way is hangs:
            await until(lambda: engine.open == 0)
        else:
            # What the socket holds, and not the whole file.
            assert engine.sessions[0].audio_bytes < 10_000_000
        assert await asyncio.wait([task])
        del task
    gc.collect()
    await until(lambda: not any(isinstance(one, Source) for one in gc.get_objects()))


async def test_what_an_engine_has_not_read_is_not_computed_for_nobody() -> None:
    """Minutes of sound lie between the two by then."""
    ear = Ear(longest_piece_s=5.0)
    ear.gate.clear()
    slot = SlotBench(ears(), [EarEngine(ear)])
    long = sound_file(np.tile(tones(["alpha", "bravo"], after_s=1.0), 400), 16_000)
    async with audio_bench(slot) as bench:
        task = asyncio.create_task(transcribed(bench, long))
        await until(ear.at_work.is_set)
        task.cancel()
        await until(lambda: slot.in_use == 0)
        ear.gate.set()
        await until(lambda: ear.iterators_open == 0)
        await asyncio.wait([task])
        # One call each for what had been read before it could know.
        assert await settled(lambda: len(ear.pieces)) <= 4


async def settled(count: Callable[[], int]) -> int:
    """What it is once it has not changed for a while."""
    last, same = count(), 0
    while same < 20:
        await asyncio.sleep(0.02)
        last, same = (count(), 0) if count() != last else (last, same + 1)
    return last


async def test_a_client_that_leaves_while_it_waits_for_the_slot() -> None:
    slot = SlotBench(ears(), [EarEngine()])
    slot.load.clear()
    async with audio_bench(slot) as bench:
        task = asyncio.create_task(transcribed(bench))
        await until(lambda: slot.pool.traffic.queued == 1)
        task.cancel()
        await until(lambda: slot.in_use == 0)
