"""Speech through the whole ingress: OpenAI's client, real sockets, and engines that speak, break off, or misbehave."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import numpy as np
import openai
import pytest

from providers.tts.dialect import VoiceBook
from providers.tts.messages import SpeechRequest
from providers.tts.options import TtsOptions
from providers.tts.synthesizer import Reference
from serve_app.audio.encode import CODINGS, Coding, Format, Sink
from serve_app.errors import LoadFailed
from serve_app.models.store import ModelStore
from tests.support.audio_bench import PATIENCE_S, until
from tests.support.heard_file import Sound, adts_frames, by_ffmpeg, by_libsndfile, by_wave, samples_of
from tests.support.realtime_bench import SlotBench
from tests.support.speech_bench import (
    MAX_BODY,
    RATE,
    VOICES,
    Brought,
    Speaker,
    SpeechBench,
    Utterance,
    saying,
    sentence,
    speaker,
    speech_bench,
)

FIRST, SECOND = sentence(440, 1.0), sentence(1200, 0.5)
BOTH_S = 1.5
BODY: dict[str, Any] = {"model": "tts", "input": "Hello. World.", "voice": "low"}
READERS: dict[str, tuple[Callable[[bytes], Sound], ...]] = {
    "mp3": (by_ffmpeg, by_libsndfile),
    "opus": (by_ffmpeg, by_libsndfile),
    "aac": (by_ffmpeg,),
    "flac": (by_ffmpeg, by_libsndfile),
    "wav": (by_ffmpeg, by_libsndfile, by_wave),
    "pcm": (lambda data: Sound(samples_of(data), RATE),),
}
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
each_format = pytest.mark.parametrize("format", list(READERS))
SSE = {"stream_format": "sse"}


class Open(Protocol):
    def __call__(
        self, *slots: SlotBench, books: dict[str, VoiceBook] | None = None, brought: Brought | None = None
    ) -> AbstractAsyncContextManager[SpeechBench]: ...


@pytest.fixture
def bench_of(tmp_path: Path) -> Open:
    def open(
        *slots: SlotBench, books: dict[str, VoiceBook] | None = None, brought: Brought | None = None
    ) -> AbstractAsyncContextManager[SpeechBench]:
        return speech_bench(*slots, store=ModelStore(tmp_path), books=books, brought=brought)

    return open


@pytest.fixture
def engine() -> Speaker:
    return Speaker(saying(FIRST, SECOND))


@pytest.fixture
def slot(engine: Speaker) -> SlotBench:
    return SlotBench(speaker(), [engine])


@pytest.fixture
async def bench(slot: SlotBench, bench_of: Open) -> AsyncIterator[SpeechBench]:
    async with bench_of(slot) as made:
        yield made


async def said(bench: SpeechBench, **more: Any) -> tuple[bytes, str]:
    answer = await bench.client.audio.speech.create(**(BODY | more))
    return answer.content, answer.response.headers["content-type"]


async def refused(bench: SpeechBench, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        await bench.client.audio.speech.create(**(BODY | more))
    return error.value


async def events(bench: SpeechBench, **more: Any) -> list[Any]:
    """As a client of OpenAI's reads them."""
    found: list[Any] = []
    async with bench.client.audio.speech.with_streaming_response.create(**(BODY | SSE | more)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            else:
                assert line == "" or line.startswith(":"), line
    return found


async def raw(bench: SpeechBench, body: dict[str, Any], read: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """All bytes of the answer until the server closes, or `read` says that it is enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    content = json.dumps(BODY | body).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    data = b""
    try:
        writer.write(head.encode() + content)
        async with asyncio.timeout(PATIENCE_S):
            while not read(data) and (piece := await reader.read(65536)):
                data += piece
    finally:
        writer.close()
    await writer.wait_closed()
    return data


def check(sound: Sound) -> None:
    assert sound.channels == 1
    assert BOTH_S - 0.005 <= sound.seconds <= BOTH_S + 0.12
    assert sound.tone(0.1, 0.9) == pytest.approx(440, abs=3)
    assert sound.tone(1.15, 1.45) == pytest.approx(1200, abs=5)


@each_format
async def test_every_format_by_openais_client(bench: SpeechBench, format: str) -> None:
    data, content_type = await said(bench, response_format=format)
    assert content_type == TYPES[format]
    for read in READERS[format]:
        check(read(data))
    if format == "aac":
        assert len(adts_frames(data)) * 1024 / RATE >= BOTH_S


@each_format
async def test_every_format_as_events(bench: SpeechBench, format: str) -> None:
    *deltas, done = await events(bench, response_format=format)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    data = b"".join(b64decode(event["audio"], validate=True) for event in deltas)
    for read in READERS[format]:
        check(read(data))
    # 13 characters, and 1.5 s of 20 tokens each.
    usage = {"input_tokens": 4, "output_tokens": 30, "total_tokens": 34}
    assert done == {"type": "speech.audio.done", "usage": usage}


async def test_mp3_is_what_nobody_asked_for(bench: SpeechBench) -> None:
    data, content_type = await said(bench)
    assert content_type == "audio/mpeg"
    check(by_libsndfile(data))


async def test_the_engine_gets_what_was_asked(bench: SpeechBench, engine: Speaker) -> None:
    await said(bench, voice={"id": "high"}, speed=2, instructions="Loudly.", extra_body={"language": "en-GB"})
    asked = {"text": BODY["input"], "blend": [{"voice": "high", "weight": 1}], "speed": 2, "language": "en-GB"}
    assert engine.heard[0].asked == SpeechRequest.model_validate(asked)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
async def test_pcm_is_24_khz_whatever_the_engines_rate(bench_of: Open, rate: int) -> None:
    way = saying(sentence(440, 1.0, rate), sentence(1200, 0.5, rate), rate=rate)
    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        check(Sound(samples_of((await said(bench, response_format="pcm"))[0]), RATE))


@each_format
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_the_first_sentence_is_heard_before_the_second_is_computed(
    bench_of: Open, format: str, stream_format: str
) -> None:
    heard = asyncio.Event()

    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        await utterance.say(FIRST)
        await heard.wait()
        await utterance.say(SECOND)

    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        more = {"response_format": format, "stream_format": stream_format}
        async with bench.client.audio.speech.with_streaming_response.create(**(BODY | more)) as answer:
            data = b""
            async for chunk in answer.iter_bytes():
                data += chunk
                if not heard.is_set() and len(sound_in(data, stream_format)) > 0:
                    first = sound_in(data, stream_format)
                    if READERS[format][0](first).seconds >= 0.85:
                        heard.set()
        check(READERS[format][0](sound_in(data, stream_format)))


def sound_in(data: bytes, stream_format: str) -> bytes:
    """Of an answer so far."""
    if stream_format == "audio":
        return data
    whole = data[: data.rfind(b"\n\n") + 1].splitlines()
    parsed = [json.loads(line.removeprefix(b"data: ")) for line in whole if line.startswith(b"data: ")]
    return b"".join(b64decode(event["audio"]) for event in parsed if "audio" in event)


async def test_samples_may_be_cut_anywhere_on_their_way(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        whole = FIRST + SECOND
        for start in range(0, len(whole), 4801):
            await utterance.say(whole[start : start + 4801])
            await asyncio.sleep(0)

    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        assert (await said(bench, response_format="pcm"))[0] == FIRST + SECOND


async def test_many_at_once(bench: SpeechBench) -> None:
    formats = [*READERS, *READERS]
    answers = await asyncio.gather(*(said(bench, response_format=format) for format in formats))
    for format, (data, _) in zip(formats, answers, strict=True):
        check(READERS[format][0](data))


async def test_an_engine_that_dies_in_mid_speech_breaks_the_file(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        await utterance.say(FIRST)
        await heard.wait()
        await utterance.die()

    for format in READERS:
        heard = asyncio.Event()
        async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:

            def enough(data: bytes, format: str = format, heard: asyncio.Event = heard) -> bool:
                if b"\r\n\r\n" in data and len(data) > 1000:
                    heard.set()
                return False

            data = await raw(bench, {"response_format": format}, enough)
            assert data.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"transfer-encoding: chunked" in data.lower()
            assert not data.endswith(b"0\r\n\r\n")
            with pytest.raises(openai.APIConnectionError):
                await said(bench, response_format=format)


async def test_a_whole_answer_ends_as_such(bench: SpeechBench) -> None:
    """What the test above looks for is there."""
    assert (await raw(bench, {}, lambda data: data.endswith(b"0\r\n\r\n"))).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_engine_that_dies_in_mid_speech_is_an_event(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        await utterance.say(FIRST)
        await asyncio.sleep(0.1)
        await utterance.die()

    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        *deltas, failure = await events(bench)
        assert deltas and {event["type"] for event in deltas} == {"speech.audio.delta"}
        assert failure["error"]["code"] == "engine_died"


async def silent_death(utterance: Utterance) -> None:
    await utterance.die()
    await utterance.gone()


async def death_before_sound(utterance: Utterance) -> None:
    await utterance.begin()
    await asyncio.sleep(0.05)
    await utterance.die()
    await utterance.gone()


async def stopping(utterance: Utterance) -> None:
    utterance.refuse(503, "The engine is being stopped.")


async def stranger(utterance: Utterance) -> None:
    utterance.refuse(401, "A valid bearer token is needed.")


@pytest.mark.parametrize("way", [silent_death, death_before_sound, stopping, stranger])
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_another_engine_speaks_where_the_first_said_nothing(
    bench_of: Open, way: Any, stream_format: str, engine: Speaker
) -> None:
    slot = SlotBench(speaker(), [Speaker(way), engine])
    async with bench_of(slot) as bench:
        if stream_format == "sse":
            assert (await events(bench))[-1]["type"] == "speech.audio.done"
        else:
            check(by_ffmpeg((await said(bench))[0]))
    assert slot.opened == 2


@pytest.mark.parametrize(
    ("way", "status", "code"),
    [
        (silent_death, 502, "engine_died"),
        (death_before_sound, 502, "engine_died"),
        (stopping, 429, "slot_busy"),
        (stranger, 502, "engine_died"),
    ],
)
async def test_two_engines_are_tried_and_no_more(bench_of: Open, way: Any, status: int, code: str) -> None:
    slot = SlotBench(speaker(), [Speaker(way)])
    async with bench_of(slot) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (status, code)
    assert slot.opened == 2


async def test_what_the_engine_refuses_is_told(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        utterance.refuse(400, "Low speaks no Welsh.", "unsupported_language", "language")

    slot = SlotBench(speaker(), [Speaker(way)])
    async with bench_of(slot) as bench:
        for more in ({}, SSE):
            error = await refused(bench, **more)
            assert (error.status_code, error.code, error.param) == (400, "unsupported_language", "language")
            assert "no Welsh" in error.message
    assert slot.opened == 1


async def test_an_engine_that_fails_is_told(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        utterance.refuse(500, "Out of memory.")

    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        error = await refused(bench)
        assert (error.status_code, error.type) == (500, "server_error")
        assert "Out of memory" in error.message


@pytest.mark.parametrize("rate", ["", "x", "0", "-24000", "7999", "192001", "9" * 5000])
async def test_an_engine_without_a_rate(bench_of: Open, rate: str) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin(rate)
        await utterance.say(FIRST)

    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (502, "engine_died")


async def test_half_a_sample_at_the_end_is_no_speech(bench_of: Open) -> None:
    async with bench_of(SlotBench(speaker(), [Speaker(saying(FIRST, b"\x01"))])) as bench:
        *_, failure = await events(bench)
        assert failure["error"]["code"] == "engine_died"
        assert not (await raw(bench, {})).endswith(b"0\r\n\r\n")


@each_format
async def test_an_engine_that_says_nothing(bench_of: Open, format: str) -> None:
    async with bench_of(SlotBench(speaker(), [Speaker(saying())])) as bench:
        for more in ({}, SSE):
            error = await refused(bench, response_format=format, **more)
            assert (error.status_code, error.code, error.param) == (400, "nothing_to_speak", "input")


async def test_an_encoder_that_is_missing(bench: SpeechBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODINGS, Format.MP3, Coding("mp3", "not_in_this_build", lambda rate: rate))
    for more in ({}, SSE):
        error = await refused(bench, **more)
        assert (error.status_code, error.code) == (500, "encoding_failed")
    check(by_ffmpeg((await said(bench, response_format="opus"))[0]))


async def test_an_encoder_that_fails_in_the_middle(bench_of: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Sink):
        size = 0

        def write(self, data: bytes) -> int:
            self.size += len(data)
            if self.size > 20_000:
                raise OSError("no more")
            return super().write(data)

    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        for _ in range(4):
            await utterance.say(FIRST)
            await asyncio.sleep(0.1)

    monkeypatch.setattr("serve_app.audio.encode.Sink", Full)
    async with bench_of(SlotBench(speaker(), [Speaker(way)])) as bench:
        *deltas, failure = await events(bench)
        assert deltas and failure["error"]["code"] == "encoding_failed"
        data = await raw(bench, {})
        assert data.startswith(b"HTTP/1.1 200 OK") and not data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_client_that_leaves_ends_the_engines_work(bench_of: Open, stream_format: str) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        await utterance.say(FIRST)
        await utterance.gone()

    engine = Speaker(way)
    async with bench_of(SlotBench(speaker(), [engine])) as bench:
        await raw(bench, {"stream_format": stream_format}, lambda data: len(data) > 2000)
        await until(lambda: engine.open == 0)
        assert len(engine.heard) == 1


async def test_a_client_that_leaves_before_the_first_sentence(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.gone()

    engine = Speaker(way)
    async with bench_of(SlotBench(speaker(), [engine])) as bench:
        asking = asyncio.create_task(raw(bench, {}))
        await until(lambda: engine.open == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: engine.open == 0)


@pytest.mark.parametrize("format", ["wav", "flac", "pcm"])
async def test_a_client_that_reads_slowly_holds_the_engine_back(bench_of: Open, format: str) -> None:
    noise = np.random.default_rng(1).integers(-8000, 8000, RATE * 10, dtype="<i2").tobytes()
    total = 120

    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        for _ in range(total):
            await utterance.say(noise)

    engine = Speaker(way)
    async with bench_of(SlotBench(speaker(), [engine])) as bench:
        body = BODY | {"response_format": format}
        async with (
            aiohttp.ClientSession(read_bufsize=2**14) as http,
            http.post(f"{bench.url}/v1/audio/speech", json=body) as answer,
        ):
            await answer.content.readexactly(100)
            sent = -1
            while sent != (sent := engine.heard[0].sent):
                await asyncio.sleep(0.5)
            assert sent < len(noise) * total / 2
            size = 100
            async for chunk in answer.content.iter_any():
                size += len(chunk)
        assert size > len(noise) * total * 0.8
        assert engine.heard[0].sent == len(noise) * total


async def test_a_slot_that_limits_its_requests_in_time(bench_of: Open) -> None:
    async def way(utterance: Utterance) -> None:
        await utterance.begin()
        await utterance.say(FIRST)
        await utterance.gone()

    engine = Speaker(way)
    async with bench_of(SlotBench(speaker(request_timeout_s=0.5), [engine])) as bench:
        *deltas, failure = await events(bench)
        assert deltas and failure["error"]["code"] == "request_timeout"
        assert not (await raw(bench, {})).endswith(b"0\r\n\r\n")
        await until(lambda: engine.open == 0)


async def test_events_wait_with_comments_for_their_slot(bench_of: Open, slot: SlotBench) -> None:
    def loaded_after_two(data: bytes) -> bool:
        if data.count(b": keep-alive") > 1:
            slot.load.set()
        return data.endswith(b"0\r\n\r\n")

    slot.load.clear()
    async with bench_of(slot) as bench:
        data = await raw(bench, SSE, loaded_after_two)
        assert data.startswith(b"HTTP/1.1 200 OK") and b"text/event-stream" in data
        assert b"speech.audio.done" in data


@pytest.mark.parametrize("waits", [False, True])
async def test_a_slot_that_does_not_load(bench_of: Open, slot: SlotBench, waits: bool) -> None:
    slot.failure = LoadFailed("tts", "engine_exited", "no voices file")
    async with bench_of(slot) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (503, "engine_exited")
        if waits:
            slot.load.clear()
            asking = asyncio.create_task(events(bench))
            await asyncio.sleep(0.3)
            slot.load.set()
            assert [event["error"]["code"] for event in await asking] == ["engine_exited"]


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"model": None}, 400, "model", "missing_model"),
        ({"model": "nobody"}, 404, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": ""}, 400, "input", "empty_input"),
        ({"input": "?!... \x07"}, 400, "input", "empty_input"),
        ({"input": "a" * 101}, 400, "input", "input_too_long"),
        ({"input": {"text": "a"}}, 400, "input", "invalid_type"),
        ({"voice": "nobody"}, 400, "voice", "unknown_voice"),
        ({"voice": "low(2"}, 400, "voice", "invalid_value"),
        ({"voice": []}, 400, "voice", "invalid_type"),
        ({"speed": 5}, 400, "speed", "invalid_value"),
        ({"speed": True}, 400, "speed", "invalid_type"),
        ({"response_format": "m4a"}, 400, "response_format", "invalid_value"),
        ({"response_format": 7}, 400, "response_format", "invalid_type"),
        ({"stream_format": "ws"}, 400, "stream_format", "invalid_value"),
        ({"stream_format": True}, 400, "stream_format", "invalid_type"),
        ({"language": "no language"}, 400, "language", "invalid_value"),
        ({"padding": "x" * MAX_BODY}, 413, None, "request_too_large"),
    ],
)
async def test_what_is_wrong_wakes_no_slot(
    bench_of: Open, engine: Speaker, body: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    slot = SlotBench(speaker(options=TtsOptions(max_characters=100)), [engine])
    async with (
        bench_of(slot) as bench,
        aiohttp.ClientSession() as http,
        http.post(f"{bench.url}/v1/audio/speech", json=BODY | body) as answer,
    ):
        error = (await answer.json())["error"]
        assert (answer.status, error["param"], error["code"]) == (status, param, code)
        assert set(error) == {"message", "type", "param", "code"}
    assert slot.opened == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b'{"input": "\\ud800"}', b'{"speed": NaN}', b"\xff"])
async def test_a_body_that_is_no_object(bench: SpeechBench, body: bytes) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{bench.url}/v1/audio/speech", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "invalid_json"


async def test_a_voice_that_a_client_has_brought(bench_of: Open, engine: Speaker) -> None:
    brought = Brought({"Ann + Bob": Reference(FIRST, RATE, "What I said.")})
    slot = SlotBench(speaker(), [engine])
    async with bench_of(slot, books={"tts": VoiceBook(None, clones=True)}, brought=brought) as bench:
        for voice in ("Ann + Bob", {"id": "id_Ann + Bob"}):
            check(by_ffmpeg((await said(bench, voice=voice))[0]))
        error = await refused(bench, voice="Ann")
        assert (error.status_code, error.code, error.param) == (400, "unknown_voice", "voice")
        assert "Ann + Bob" in error.message
    for utterance in engine.heard:
        assert utterance.asked.blend == ()
        assert utterance.asked.manner.reference == brought.voices["Ann + Bob"]
    assert slot.opened == 1


async def test_no_voice_has_been_brought(bench_of: Open, slot: SlotBench) -> None:
    async with bench_of(slot, books={"tts": VoiceBook(None, clones=True)}) as bench:
        assert "POST /v1/audio/voices" in (await refused(bench, voice="Ann")).message
    assert slot.opened == 0


async def test_a_slot_may_have_voices_and_clone(bench_of: Open, slot: SlotBench, engine: Speaker) -> None:
    brought = Brought({"Ann": Reference(FIRST, RATE, "What I said.")})
    async with bench_of(slot, books={"tts": VoiceBook(VOICES, clones=True)}, brought=brought) as bench:
        await said(bench, voice="high")
        await said(bench, voice="Ann")
        assert (await refused(bench, voice="An")).code == "unknown_voice"
    assert [bool(one.asked.reference) for one in engine.heard] == [False, True]


async def get(bench: SpeechBench, path: str, status: int = 200) -> Any:
    async with aiohttp.ClientSession() as http, http.get(bench.url + path) as answer:
        assert answer.status == status
        return await answer.json()


async def test_lists_wake_no_slot(bench_of: Open, engine: Speaker, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    brought = Brought({"Ann": Reference(FIRST, RATE, "What I said.")})
    slots = [
        SlotBench(speaker(), [engine]),
        SlotBench(speaker("clone", model="here"), [engine]),
        SlotBench(speaker("llm", capabilities=["chat"]), [engine]),
    ]
    books = {"clone": VoiceBook(None, clones=True)}
    async with bench_of(*slots, books=books, brought=brought) as bench:
        everything = await get(bench, "/v1/audio/voices")
        assert everything["object"] == "list"
        voices = everything["voices"]
        assert voices[0] == {"id": "low", "name": "Low", "language": "en-GB", "gender": "male", "model": "tts"}
        assert voices[2] == {"id": "other", "name": "Other", "language": None, "gender": None, "model": "tts"}
        assert [one["id"] for one in voices if one["model"] == "tts"] == ["low", "high", "other"]
        # The files of its model are here, and tell of one more.
        cloned = [one for one in voices if one["model"] == "clone"]
        assert [one["id"] for one in cloned] == ["low", "high", "other", "filed", "id_Ann"]
        assert cloned[-1]["name"] == "Ann"
        assert (await get(bench, "/v1/audio/voices?model=clone"))["voices"] == cloned
        assert (await get(bench, "/v1/audio/voices?model=hal0/tts"))["voices"] == voices[:3]
        assert (await get(bench, "/v1/audio/voices?model=nobody", 404))["error"]["code"] == "model_not_found"
        assert (await get(bench, "/v1/audio/voices?model=llm", 400))["error"]["code"] == "unsupported_capability"
        models = [{"id": "tts", "name": "tts"}, {"id": "clone", "name": "clone"}]
        assert await get(bench, "/v1/audio/models") == {"object": "list", "models": models}
        brought.voices.clear()
        assert len((await get(bench, "/v1/audio/voices?model=clone"))["voices"]) == 4
    assert not any(slot.opened for slot in slots)
