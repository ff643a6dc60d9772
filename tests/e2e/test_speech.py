"""Speech to text as its users see it: the official client against a running server, and engines that are killed."""

import asyncio
import base64
import io
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import openai
import pytest
import srt  # type: ignore[import-untyped]
from numpy.typing import NDArray

from providers.tiny.tones import SAMPLE_RATE, WORD_S, tones
from tests.e2e.demo import CHAT, config, demo, make_models, slot
from tests.support.server import Server, ServerPark, eventually
from tests.support.wav import pcm, wav

pytestmark = pytest.mark.e2e

SAID = ["golf", "alpha", "hotel", "echo"]
TEXT = " ".join(SAID)
PATIENCE_S = 60.0

STT = (
    "{name: stt, provider: moonshine, model: demo/tiny-moonshine, capabilities: [transcription], device: cpu,"
    " parallel_requests: 4, options: {voice_detector: level}}"
)
WHISPER = (
    "{name: whisper, provider: faster-whisper, model: demo/tiny-whisper, capabilities: [transcription, translation],"
    " options: {voice_detector: level}}"
)
CHILD = "{voice_detector: level, own_process: true}"
SLOTS = ", ".join(
    [
        slot(STT, idle_after_s=1, unload_after_s=2),
        slot(STT, name="stt-child", options=CHILD),
        slot(WHISPER, name="whisper-child", options=CHILD),
        slot(STT, name="unfit", model="demo/tiny-whisper"),
        slot(WHISPER, name="misplaced", model="demo/tiny-moonshine"),
        slot(STT, name="absent", model="demo/nothing"),
        slot(STT, name="ear", resources="{custom: {unit: 1}}"),
        slot(CHAT, name="rival", resources="{custom: {unit: 1}}"),
    ]
)


def said(*words: str, before_s: float = 0.5, after_s: float = 1.0) -> NDArray[np.float32]:
    return tones(words, before_s=before_s, after_s=after_s)


def half_an_hour_of_flac() -> bytes:
    """Words every ten seconds."""
    minute = np.concatenate([said("bravo", after_s=10 - 0.5 - WORD_S)] * 6)
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for _ in range(30):
            frame = av.AudioFrame.from_ndarray((minute * 32767).astype("<i2")[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture(scope="module")
def demo_server(servers: ServerPark) -> Server:
    return demo(servers)


def client_of(server: Server) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=PATIENCE_S, max_retries=0)


@pytest.fixture(scope="module")
def client(demo_server: Server) -> Iterator[Any]:
    with client_of(demo_server) as client:
        yield client


def transcribed(client: Any, audio: bytes, model: str = "stt", name: str = "speech.wav", **more: Any) -> Any:
    return client.audio.transcriptions.create(model=model, file=(name, audio), **more)


def test_json_and_text(client: Any) -> None:
    audio = wav(said(*SAID))
    answer = transcribed(client, audio)
    assert answer.text == TEXT
    assert answer.usage.type == "duration" and answer.usage.seconds == 3
    assert transcribed(client, audio, response_format="text").strip() == TEXT


def test_words_are_where_they_were_said(client: Any) -> None:
    answer = transcribed(
        client, wav(said(*SAID)), response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert [word.word for word in answer.words] == SAID
    for order, word in enumerate(answer.words):
        assert word.start == pytest.approx(0.5 + order * WORD_S, abs=0.05)
        assert word.end == pytest.approx(0.5 + (order + 1) * WORD_S, abs=0.05)
    assert answer.language == "english" and answer.duration == pytest.approx(1.5 + 4 * WORD_S, abs=0.02)


def test_subtitles(client: Any) -> None:
    audio = wav(np.concatenate([said("alpha", "bravo"), said("echo")]))
    first, second = srt.parse(transcribed(client, audio, response_format="srt"))
    assert (first.content, second.content) == ("alpha bravo", "echo")
    assert first.end.total_seconds() <= second.start.total_seconds()
    assert transcribed(client, audio, response_format="vtt").startswith("WEBVTT\n\n")


def test_streamed_deltas_join_to_the_text(client: Any) -> None:
    audio = wav(np.concatenate([said("alpha", "bravo"), said("echo")]))
    events = list(transcribed(client, audio, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == "alpha bravo echo"
    assert events[-1].type == "transcript.text.done" and events[-1].text == "alpha bravo echo"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_whisper_transcribes_translates_and_knows_languages(client: Any) -> None:
    audio = wav(said(*SAID))
    answer = transcribed(client, audio, "whisper", response_format="verbose_json", language="de")
    assert answer.text == "hello world" and answer.language == "german"
    translated = client.audio.translations.create(model="whisper", file=("speech.wav", audio))
    assert translated.text == "hello world"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_what_a_slot_cannot_do_another_can(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Slots that can: whisper"):
        client.audio.translations.create(model="stt", file=("speech.wav", wav(said("alpha"))))
    with pytest.raises(openai.BadRequestError, match=r"Slots that can: .*whisper"):
        transcribed(client, wav(said("alpha")), language="de")


def test_a_file_that_is_none_wakes_no_slot(servers: ServerPark, client: Any, demo_server: Server) -> None:
    demo_server.post("/api/slots/whisper/unload", {})
    demo_server.wait_for_state("whisper", "offline")
    for junk in (b"", b"#EXTM3U\n/etc/passwd\n", b"\0" * 1_000_000):
        with pytest.raises(openai.BadRequestError) as refused:
            transcribed(client, junk, "whisper")
        assert refused.value.code == "invalid_audio"
    assert demo_server.slot("whisper")["state"] == "offline"


def test_twenty_files_at_once(client: Any) -> None:
    files = [wav(said(*(SAID[order % 4 :] + SAID[: order % 4]))) for order in range(20)]
    with ThreadPoolExecutor(20) as pool:
        texts = [answer.text for answer in pool.map(lambda audio: transcribed(client, audio), files)]
    assert texts == [" ".join(SAID[order % 4 :] + SAID[: order % 4]) for order in range(20)]


def peak_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_half_an_hour_costs_the_ingress_no_memory(client: Any, demo_server: Server) -> None:
    (ingress,) = demo_server.processes("ServeReplica:hal0:ingress")
    transcribed(client, wav(said("alpha")))
    before = peak_bytes(ingress)
    answer = transcribed(client, half_an_hour_of_flac(), name="long.flac", response_format="verbose_json")
    assert answer.duration == pytest.approx(1800, abs=0.1)
    assert answer.text.split() == ["bravo"] * 180
    # Its samples alone would be 58 MB as 16-bit numbers.
    assert peak_bytes(ingress) - before < 32 * 2**20


class Conversation:
    """One realtime session and what it has heard."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def say(self, samples: NDArray[np.float32]) -> None:
        for at in range(0, len(samples), SAMPLE_RATE // 10):
            chunk = pcm(samples[at : at + SAMPLE_RATE // 10])
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())

    async def until(self, kind: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            async for event in self.connection:
                self.events.append(event)
                if event.type.endswith(kind):
                    return event
        raise AssertionError(f"no {kind} in {[event.type for event in self.events]}")


@asynccontextmanager
async def conversation(server: Server, **more: Any) -> AsyncIterator[Conversation]:
    async with (
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        audio = {
            "format": {"type": "audio/pcm", "rate": SAMPLE_RATE},
            "transcription": {"model": "stt"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        }
        session: Any = {"type": "transcription", "audio": {"input": audio | more}}
        await connection.session.update(session=session)
        talk = Conversation(connection)
        await talk.until("session.updated")
        yield talk


async def test_a_conversation(demo_server: Server) -> None:
    async with conversation(demo_server) as talk:
        await talk.say(said(*SAID))
        first = await talk.until("transcription.completed")
        assert first.transcript == TEXT
        kinds = [event.type.rpartition(".")[2] for event in talk.events]
        assert kinds.index("speech_started") < kinds.index("delta") < kinds.index("completed")
        await talk.say(said("foxtrot", "golf"))
        assert (await talk.until("transcription.completed")).transcript == "foxtrot golf"


async def test_turns_that_the_client_takes(demo_server: Server) -> None:
    async with conversation(demo_server, turn_detection=None) as talk:
        await talk.say(said(*SAID, before_s=0, after_s=0.1))
        await talk.connection.input_audio_buffer.commit()
        assert (await talk.until("transcription.completed")).transcript == TEXT


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    text = config(f"[{SLOTS}]").replace("ingress: {}", "scheduling: {turn_s: 2}")
    return servers.running(text, env={"RAY_OVERRIDE_RESOURCES": '{"unit": 1}'}, prepare=make_models)


def replicas(server: Server, name: str) -> list[int]:
    word = f"ServeReplica:hal0:{name}"
    return [pid for pid in server.processes(word) if re.search(rf"{word}(?![\w-])", command_line(pid))]


@pytest.mark.parametrize(("name", "text"), [("stt-child", TEXT), ("whisper-child", "hello world")])
def test_an_engine_in_a_process_of_its_own(server: Server, name: str, text: str) -> None:
    with client_of(server) as client:
        assert transcribed(client, wav(said(*SAID)), name).text == text
        (engine,) = [pid for pid in server.engines("providers.native.child") if name in command_line(pid)]
        os.kill(engine, signal.SIGKILL)
        eventually("the engine is gone", lambda: not Path(f"/proc/{engine}").exists())
        assert transcribed(client, wav(said(*SAID)), name).text == text


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("unfit", "encoder_model"), ("misplaced", "use provider: moonshine"), ("absent", "does not exist")],
)
def test_a_model_of_the_wrong_kind_says_so(server: Server, name: str, reason: str) -> None:
    with client_of(server) as client, pytest.raises(openai.InternalServerError, match=reason) as refused:
        transcribed(client, wav(said("alpha")), name)
    assert refused.value.status_code == 503


async def test_a_session_keeps_its_slot_awake_and_lets_it_go(server: Server) -> None:
    async with conversation(server) as talk:
        await talk.say(said("alpha"))
        await talk.until("transcription.completed")
        await asyncio.sleep(4)  # longer than the slot may be quiet
        assert server.slot("stt")["state"] == "serving"
        await talk.say(said("bravo"))
        assert (await talk.until("transcription.completed")).transcript == "bravo"
    server.wait_for_state("stt", "offline", timeout_s=40)


async def test_a_session_that_hears_nothing_lets_another_slot_have_its_turn(server: Server) -> None:
    async with conversation(server, transcription={"model": "ear"}) as talk:
        await talk.say(said("alpha"))
        await talk.until("transcription.completed")

        async def stay_silent() -> None:
            while True:
                await talk.say(np.zeros(SAMPLE_RATE // 10, np.float32))
                await asyncio.sleep(0.1)

        silent = asyncio.create_task(stay_silent())
        chat = {"model": "rival", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        status, answer, _ = await asyncio.to_thread(server.post, "/v1/chat/completions", chat)
        assert status == 200, answer
        silent.cancel()
        await talk.say(said("bravo"))
        assert (await talk.until("transcription.completed")).transcript == "bravo"


async def test_a_session_outlives_its_engine(server: Server) -> None:
    async with conversation(server) as talk:
        await talk.say(said("alpha"))
        await talk.until("transcription.completed")
        await talk.say(said("echo", after_s=0))
        await talk.until("speech_started")
        (replica,) = replicas(server, "stt")
        os.kill(replica, signal.SIGKILL)
        assert (await talk.until("error")).error.code == "engine_died"
        await talk.say(said("bravo"))
        assert (await talk.until("transcription.completed")).transcript == "bravo"


def test_a_replica_killed_under_a_file_is_told_or_replaced(server: Server) -> None:
    audio = half_an_hour_of_flac()
    with client_of(server) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: list(transcribed(client, audio, name="long.flac", stream=True)))
        server.wait_for_state("stt", "serving")
        (replica,) = replicas(server, "stt")
        os.kill(replica, signal.SIGKILL)
        try:
            assert answer.result(PATIENCE_S)[-1].type == "transcript.text.done"  # replaced before the answer began
        except openai.APIError as error:
            assert "went away" in str(error)
        assert transcribed(client, wav(said("golf"))).text == "golf"
