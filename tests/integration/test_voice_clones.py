"""Voices that clients bring, through the whole ingress: OpenAI's client, real sockets, real recognition."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import openai
import pytest
from openai.types.audio import Voice, VoiceDeleted

from providers.asr.messages import Done
from providers.capabilities import Capability
from providers.tiny.tones import tones
from serve_app.errors import LoadFailed
from serve_app.voices.sample import SAMPLE_RATE
from tests.support.audio_bench import EarEngine, ScriptedEngine, Session, ears, until
from tests.support.audio_files import Floats, film_file, picture_file, sound_file, tone
from tests.support.clone_bench import CloneBench, clone_bench
from tests.support.realtime_bench import SlotBench

RATE = 44_100
SAID = "alpha bravo charlie"
SPEECH = tones(["alpha", "bravo"] * 3 + ["charlie"], before_s=0.5, between_s=0.05, after_s=1.5, rate=RATE)
WORDS = " ".join(["alpha", "bravo"] * 3 + ["charlie"])
SECONDS = len(SPEECH) / RATE
WAV = sound_file(SPEECH, RATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


@pytest.fixture
async def deaf(folder: Path) -> AsyncIterator[CloneBench]:
    """No slot transcribes."""
    async with clone_bench(folder) as bench:
        yield bench


@pytest.fixture
async def hearing(folder: Path) -> AsyncIterator[CloneBench]:
    async with clone_bench(folder, SlotBench(ears(), [EarEngine()])) as bench:
        yield bench


async def refused(bench: CloneBench, content: bytes = WAV, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        await bench.add(content, **({"transcript": SAID} | more))
    assert bench.store.list() == ()
    return error.value


async def asked(bench: CloneBench, method: str, name: str) -> tuple[int, Any]:
    async with bench.http.request(method, f"{bench.url}/v1/audio/voices/{quote(name, safe='')}") as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [
        ("wav", "pcm_s16le", "mono"),
        ("mp3", "libmp3lame", "stereo"),
        ("webm", "libopus", "mono"),
        ("flac", "flac", "mono"),
    ],
)
async def test_a_voice_is_stored_and_had_again(deaf: CloneBench, container: str, codec: str, layout: str) -> None:
    rate = 48_000
    given = tone(4.0, rate, 700)
    answer = await deaf.add(sound_file(given, rate, container, codec, layout), transcript=f" {SAID}\n again ")
    Voice.model_validate(answer.to_dict(), strict=True)
    assert answer.to_dict() | {"duration": 0} == {
        "id": answer.id,
        "object": "audio.voice",
        "name": "Ada",
        "created_at": answer.created_at,
        "type": "audio_sample",
        "duration": 0,
        "transcript": f"{SAID} again",
    }
    assert abs(answer.duration - 4.0) < 0.1
    assert await asked(deaf, "GET", "aDa") == await asked(deaf, "GET", answer.id) == (200, answer.to_dict())
    reference = await deaf.store.reference("Ada")
    assert reference is not None and (reference.rate, reference.text) == (24_000, f"{SAID} again")
    samples = np.frombuffer(reference.pcm, "<i2").astype(np.float32) / 32768
    assert abs(len(samples) / SAMPLE_RATE - answer.duration) < 0.001
    spectrum = np.abs(np.fft.rfft(samples[SAMPLE_RATE : 2 * SAMPLE_RATE]))
    assert int(np.argmax(spectrum)) == 700
    assert abs(float(np.max(np.abs(samples[SAMPLE_RATE:-SAMPLE_RATE]))) - 0.5) < 0.06


async def test_what_is_said_is_found_out(hearing: CloneBench) -> None:
    answer = await hearing.add(WAV)
    assert answer.transcript == WORDS
    assert abs(answer.duration - SECONDS) < 0.01


async def test_the_first_slot_that_transcribes_does_it(folder: Path) -> None:
    first, second = SlotBench(ears("one"), [EarEngine()]), SlotBench(ears("two"), [EarEngine()])
    translates = SlotBench(ears("zero", capabilities=(Capability.TRANSLATION,)), [EarEngine()])
    async with clone_bench(folder, translates, first, second) as bench:
        await bench.add(WAV)
        assert [slot.opened for slot in (translates, first, second)] == [0, 1, 0]


async def test_a_transcript_that_is_given_wakes_no_slot(folder: Path) -> None:
    slot = SlotBench(ears(), [EarEngine()])
    async with clone_bench(folder, slot) as bench:
        assert (await bench.add(WAV, "Ada", transcript="one thing")).transcript == "one thing"
        assert (await bench.add(WAV, "Bob", ref_text="another")).transcript == "another"
    assert slot.opened == 0


async def test_without_a_transcript_and_without_ears(deaf: CloneBench) -> None:
    for blank in (None, "", " \n"):
        error = await refused(deaf, transcript=blank)
        assert (error.status_code, error.code, error.param) == (400, "missing_transcript", "transcript")
        assert "send it in the field 'transcript'" in error.message


async def test_words_that_are_not_understood(hearing: CloneBench) -> None:
    noise = np.random.default_rng(3).normal(0, 0.01, 4 * RATE).astype(np.float32)
    error = await refused(hearing, sound_file(noise, RATE), transcript="")
    assert (error.code, error.param) == ("no_speech", "audio_sample")
    assert "'ears' understands no word" in error.message


async def test_an_engine_that_goes_away_is_replaced_once(folder: Path) -> None:
    async def leaves(session: Session) -> None:
        del session

    slot = SlotBench(ears(), [ScriptedEngine(leaves), EarEngine()])
    async with clone_bench(folder, slot) as bench:
        assert (await bench.add(WAV)).transcript == WORDS
    assert slot.opened == 2


async def test_a_slot_that_does_not_load_is_told_of(folder: Path) -> None:
    slot = SlotBench(ears(), [EarEngine()], failure=LoadFailed("ears", "engine_exited", "it broke"))
    async with clone_bench(folder, slot) as bench:
        error = await refused(bench, transcript="")
        assert (error.status_code, error.code) == (503, "engine_exited")
        await bench.add(WAV, transcript=SAID)


CLICK = np.concatenate((tone(0.1, RATE), np.zeros(5 * RATE, np.float32)))
WHISPERED = tone(5.0, RATE) * np.float32(0.001)


def constant(level: float) -> Floats:
    return np.full(5 * RATE, level, np.float32)


@pytest.mark.parametrize(
    ("samples", "code", "told"),
    [
        (tone(2.9, RATE), "audio_too_short", "The audio is 2.9 s long. To clone a voice takes 3 to 30 s"),
        (tone(30.2, RATE), "audio_too_long", "longer than 30 s. To clone a voice takes 3 to 30 s"),
        (constant(0), "no_speech", "none of the audio is louder than -50 dBFS"),
        (constant(1), "no_speech", "none of the audio"),
        (WHISPERED, "no_speech", "none of the audio"),
        (CLICK, "no_speech", "only 0.1 s of the audio are louder"),
    ],
)
async def test_sound_that_is_no_use(hearing: CloneBench, samples: Floats, code: str, told: str) -> None:
    for transcript in (SAID, ""):
        error = await refused(hearing, sound_file(samples, RATE), transcript=transcript)
        assert (error.status_code, error.code, error.param) == (400, code, "audio_sample")
        assert told in error.message


async def test_lengths_at_the_bounds(deaf: CloneBench) -> None:
    for name, seconds in (("short", 3.0), ("long", 30.0)):
        given = sound_file(tone(seconds, SAMPLE_RATE), SAMPLE_RATE)
        assert (await deaf.add(given, name, transcript=SAID)).duration == seconds


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "empty"), (b"no sound at all", "text"), (picture_file("png"), "a PNG image"), (film_file(), "only video")],
)
async def test_what_is_no_sound(deaf: CloneBench, content: bytes, told: str) -> None:
    error = await refused(deaf, content)
    assert (error.status_code, error.code, error.param) == (400, "invalid_audio", "audio_sample")
    assert told in error.message


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"name": "x" * 101}, "invalid_value", "name"),
        ({"name": "a\nb"}, "invalid_value", "name"),
        ({"name": "a\0b"}, "invalid_value", "name"),
        ({"name": "\u202etxt"}, "invalid_value", "name"),
        ({"name": "voice_" + "0" * 24}, "invalid_value", "name"),
        ({"name": " "}, "missing_required_parameter", "name"),
        ({"transcript": "a" * 2001}, "invalid_value", "transcript"),
        ({"transcript": "", "ref_text": "a\0b"}, "invalid_value", "ref_text"),
        ({"transcript": "... ?!"}, "invalid_value", "transcript"),
        ({"type": "prompt"}, "invalid_value", "type"),
        ({"model": "tts"}, "unsupported_capability", "model"),
        ({"model": "nobody"}, "model_not_found", "model"),
    ],
)
async def test_fields_that_are_wrong(deaf: CloneBench, fields: dict[str, Any], code: str, param: str) -> None:
    error = await refused(deaf, **fields)
    assert (error.code, error.param) == (code, param)
    assert error.status_code == (404 if code == "model_not_found" else 400)


async def test_the_slot_that_the_voice_is_for(deaf: CloneBench) -> None:
    error = await refused(deaf, model="tts")
    assert "Slots that can: clone." in error.message
    await deaf.add(WAV, transcript=SAID, model="clone")


async def test_without_a_slot_that_clones_nothing_is_stored(folder: Path) -> None:
    async with clone_bench(folder, SlotBench(ears(), [EarEngine()]), speaking=("tts",)) as bench:
        error = await refused(bench)
        assert (error.status_code, error.code) == (400, "unsupported_capability")
        assert "No slot here clones voices" in error.message


async def post(bench: CloneBench, *files: tuple[str, bytes], **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    for name, content in files:
        form.add_field(name, content, filename="x.wav")
    async with bench.http.post(f"{bench.url}/v1/audio/voices", data=form) as response:
        return response.status, await response.json()


async def test_other_names_of_the_file(deaf: CloneBench) -> None:
    status, answer = await post(deaf, ("file", WAV), name="Ada", transcript=SAID)
    assert (status, answer["name"]) == (200, "Ada")
    status, answer = await post(deaf, ("file", b"nothing"), name="Bob", transcript=SAID)
    assert (status, answer["error"]["param"]) == (400, "file")
    status, answer = await post(deaf, ("file", WAV), ("audio_sample", WAV), name="Bob", transcript=SAID)
    assert (status, answer["error"]["code"]) == (400, "duplicate_field")
    status, answer = await post(deaf, name="Bob", transcript=SAID)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "missing_file", "audio_sample")
    async with deaf.http.post(f"{deaf.url}/v1/audio/voices", json={"name": "Bob"}) as response:
        assert response.status == 415
        assert "'audio_sample'" in (await response.json())["error"]["message"]


async def test_a_file_over_the_limit(deaf: CloneBench) -> None:
    error = await refused(deaf, bytes(10 * 2**20))
    assert (error.status_code, error.code) == (413, "request_too_large")
    assert "10 MiB" in error.message


async def test_a_name_that_is_taken(deaf: CloneBench) -> None:
    await deaf.add(WAV, "Ada", transcript=SAID)
    for name in ("Ada", "ada", " ADA "):
        with pytest.raises(openai.BadRequestError) as error:
            await deaf.add(b"not even looked at", name, transcript=SAID)
        assert (error.value.code, error.value.param) == ("voice_exists", "name")


async def test_of_clients_that_bring_one_name_at_once_one_wins(hearing: CloneBench) -> None:
    answers = await asyncio.gather(*(hearing.add(WAV) for _ in range(4)), return_exceptions=True)
    codes = [answer.code for answer in answers if isinstance(answer, openai.APIStatusError)]
    assert codes == ["voice_exists"] * 3
    assert len(hearing.store.list()) == 1


async def test_no_more_voices_than_may_be(folder: Path) -> None:
    async with clone_bench(folder, most=1) as bench:
        await bench.add(WAV, "Ada", transcript=SAID)
        with pytest.raises(openai.BadRequestError) as error:
            await bench.add(WAV, "Bob", transcript=SAID)
        assert error.value.code == "too_many_voices"


@pytest.mark.parametrize("name", ["Ada", "../x", "a/b", "\u592a\u90ce", "100%", "a+b", "?x=1", "\u05d3\u05d5\u05d3"])
async def test_a_voice_is_removed_by_its_name(deaf: CloneBench, name: str) -> None:
    voice = await deaf.add(WAV, name, transcript=SAID)
    assert (await asked(deaf, "GET", name))[1]["id"] == voice.id
    assert await asked(deaf, "DELETE", name) == (
        200,
        {"id": voice.id, "object": "audio.voice.deleted", "deleted": True},
    )
    for method in ("GET", "DELETE"):
        status, answer = await asked(deaf, method, name)
        assert (status, answer["error"]["code"], answer["error"]["type"]) == (
            404,
            "voice_not_found",
            "invalid_request_error",
        )


async def test_a_voice_is_removed_by_openais_client(deaf: CloneBench) -> None:
    voice = await deaf.add(WAV, transcript=SAID)
    gone = await deaf.client.audio.voices.delete(voice.id)
    VoiceDeleted.model_validate(gone.to_dict(), strict=True)
    assert gone.id == voice.id and gone.deleted
    with pytest.raises(openai.NotFoundError):
        await deaf.client.audio.voices.delete(voice.id)


async def test_voices_outlive_the_server(folder: Path) -> None:
    async with clone_bench(folder) as bench:
        voice = await bench.add(WAV, transcript=SAID)
    async with clone_bench(folder) as bench:
        assert await asked(bench, "GET", "Ada") == (200, voice.to_dict())


async def test_a_client_that_leaves_ends_the_work(folder: Path) -> None:
    left = asyncio.Event()

    async def listens(session: Session) -> None:
        try:
            await session.read()
            await session.gone()
        finally:  # it is hung up on, which may cancel it
            left.set()

    async def hears_nothing(session: Session) -> None:
        await session.read()
        await session.tell(Done(duration_s=SECONDS))

    engine = ScriptedEngine(listens, hears_nothing)
    slot = SlotBench(ears(), [engine])
    async with clone_bench(folder, slot) as bench:
        leaving = asyncio.create_task(bench.add(WAV))
        await until(lambda: bool(engine.sessions) and engine.sessions[0].ended)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        await asyncio.wait_for(left.wait(), 30)
        await until(lambda: not slot.in_use)
        assert (await refused(bench, transcript="")).code == "no_speech"
        assert [name for name in os.listdir(folder) if name != ".lock"] == []
