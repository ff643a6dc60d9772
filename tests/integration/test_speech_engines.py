"""The ingress in front of the real server of engines that speak."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import httpx2
import openai
import pytest

from providers.base import Endpoint
from providers.tts.options import TtsOptions
from providers.tts.server import TtsServer
from serve_app.models.store import ModelStore
from tests.support.asr_bench import placement
from tests.support.audio_bench import PATIENCE_S, until
from tests.support.heard_file import by_libsndfile
from tests.support.realtime_bench import SlotBench
from tests.support.server import free_port
from tests.support.speech_bench import SpeechBench, speaker, speech_bench
from tests.support.tts_voice import ToneVoice, frequency

TEXT = "Aaaaa aaaaa aaaaa. Bbbbb bbbbb bbbbb. Ccccc ccccc ccccc."


class ToneEngine:
    def __init__(self, voice: ToneVoice) -> None:
        self._voice = voice

    async def start(self) -> Endpoint:
        place = placement(free_port())
        self._server = TtsServer(lambda: self._voice, TtsOptions(), place, 2)
        await self._server.start()
        endpoint = Endpoint(f"http://127.0.0.1:{place.port}", place.token)
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{endpoint.url}/health") as response:
                    if response.status == 200:
                        return endpoint
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await self._server.stop()


@pytest.fixture
def voice() -> ToneVoice:
    return ToneVoice()


@pytest.fixture
async def bench(voice: ToneVoice, tmp_path: Path) -> AsyncIterator[SpeechBench]:
    async with speech_bench(SlotBench(speaker(), [ToneEngine(voice)]), store=ModelStore(tmp_path)) as made:
        yield made


async def streamed(bench: SpeechBench, text: str, enough: Callable[[bytes], None], voice: str = "low") -> bytes:
    data = b""
    async with bench.client.audio.speech.with_streaming_response.create(
        model="tts", input=text, voice=voice, response_format="flac"
    ) as answer:
        async for chunk in answer.iter_bytes():
            data += chunk
            enough(data)
    return data


async def test_sentences_are_heard_one_after_the_other(bench: SpeechBench, voice: ToneVoice) -> None:
    voice.gate.clear()
    voice.passes.release()
    words_at_first_sound: list[int] = []

    def enough(data: bytes) -> None:
        if not voice.gate.is_set() and len(data) > 500:
            words_at_first_sound.append(len(voice.words))
            voice.gate.set()

    sound = by_libsndfile(await streamed(bench, TEXT, enough))
    assert words_at_first_sound and words_at_first_sound[0] < len(voice.words) == len(TEXT.split())
    assert sound.tone(0.1, 0.6) == pytest.approx(frequency("a"), abs=15)
    assert sound.tone(sound.seconds - 1.0, sound.seconds - 0.4) == pytest.approx(frequency("c"), abs=15)


async def test_what_the_engine_finds_wrong_at_once_is_a_status(bench: SpeechBench, voice: ToneVoice) -> None:
    voice.refuses = "Aaaaa"
    with pytest.raises(openai.BadRequestError) as error:
        await bench.client.audio.speech.create(model="tts", input=TEXT, voice="low")
    assert (error.value.code, error.value.param) == ("unspeakable", "input")
    with pytest.raises(openai.BadRequestError) as error:
        await bench.client.audio.speech.create(model="tts", input=TEXT, voice="other")
    assert (error.value.code, error.value.param) == ("unknown_voice", "voice")


async def test_what_goes_wrong_later_breaks_the_file(bench: SpeechBench, voice: ToneVoice) -> None:
    voice.gate.clear()
    voice.passes.release(2)
    voice.fails_on = "Ccccc"
    heard = 0

    def enough(data: bytes) -> None:
        nonlocal heard
        heard = len(data)
        voice.gate.set()

    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
        await streamed(bench, TEXT, enough)
    assert heard > 500


async def test_a_client_that_leaves_ends_the_models_work(bench: SpeechBench, voice: ToneVoice) -> None:
    voice.gate.clear()
    voice.passes.release()
    async with bench.client.audio.speech.with_streaming_response.create(
        model="tts", input=TEXT * 50, voice="low", response_format="wav"
    ) as answer:
        async for _ in answer.iter_bytes():
            break
    voice.gate.set()
    await until(lambda: not voice.iterators_open)
    assert len(voice.begun) < 20
