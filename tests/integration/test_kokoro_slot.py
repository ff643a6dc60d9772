"""A slot on Kokoro at its port, in its actor's process and as a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from providers.base import Endpoint, HealthState, ModelFiles
from providers.kokoro.provider import Kokoro
from providers.tiny.kokoro import make_kokoro
from providers.tts.messages import CONTENT_TYPE, RATE_HEADER, SpeechRequest
from providers.tts.paths import SPEECH_PATH
from providers.tts.synthesizer import Manner, Samples
from tests.support.kokoro_voice import RATE, length, manner, placement, slot
from tests.support.server import free_port

PROVIDER = Kokoro()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-kokoro"
    make_kokoro(folder)
    return folder


async def test_a_slot_answers_at_its_port(tiny: Path, tmp_path: Path) -> None:
    async with served(tiny, tmp_path) as endpoint:
        one = await spoken(endpoint, "Hello.", manner("af_sky"))
        assert len(one) == pytest.approx(length(len("həlˈO.")), abs=600)
        two = await spoken(endpoint, "Hello. Hello.", manner("af_sky"))
        assert len(two) == pytest.approx(2 * len(one) + slot().options.sentence_pause_s * RATE, abs=10)
        assert (await spoken(endpoint, "Hello.", manner("af_sky")) == one).all()


async def test_many_clients_at_once(tiny: Path, tmp_path: Path) -> None:
    voices = [manner(voice) for voice in ("af_sky", "af_bella", "bm_george")] * 5
    async with served(tiny, tmp_path) as endpoint:
        alone = [await spoken(endpoint, "Hello there.", how) for how in voices[:3]]
        together = await asyncio.gather(*(spoken(endpoint, "Hello there.", how) for how in voices))
        for at, samples in enumerate(together):
            assert np.array_equal(samples, alone[at % 3])


@pytest.mark.parametrize(
    ("text", "how", "param", "code"),
    [
        ("Hello.", manner("nobody"), "voice", "unknown_voice"),
        ("Hello.", manner("af_sky", language="fr"), "language", "unsupported_language"),
        ("...", manner("af_sky"), "input", "empty_input"),
    ],
)
async def test_what_cannot_be_is_the_clients_error(
    tiny: Path, tmp_path: Path, text: str, how: Manner, param: str, code: str
) -> None:
    async with served(tiny, tmp_path) as endpoint, asked(endpoint, text, how) as response:
        assert response.status == 400
        error = (await response.json())["error"]
        assert (error["param"], error["code"]) == (param, code)


async def test_a_wrong_folder_is_told_as_the_loads_failure(tmp_path: Path) -> None:
    port = free_port()
    engine = PROVIDER.native(slot(), ModelFiles(tmp_path), replace(placement(tmp_path), port=port))
    assert engine is not None
    await engine.start()
    try:
        detail = await settled(Endpoint(f"http://127.0.0.1:{port}", "token"), HealthState.DEAD)
    finally:
        await engine.stop()
    assert "has no model; a Kokoro is an ONNX file with companions.voices, such as hf://" in detail


@pytest.mark.engine
async def test_a_process_of_its_own_speaks_the_same(tiny: Path, tmp_path: Path) -> None:
    async with served(tiny, tmp_path) as endpoint:
        here = await spoken(endpoint, "Hello there.", manner("af_sky", "af_bella", speed=3))
    apart, where = slot({"own_process": True}), replace(placement(tmp_path), port=free_port())
    command = PROVIDER.start_cmd(apart, ModelFiles(tiny), where)
    assert command.argv[0] == sys.executable
    environ = dict(os.environ) | PROVIDER.build_env(apart, ModelFiles(tiny), where)
    child = await asyncio.create_subprocess_exec(*command.argv, env=environ)
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{where.port}", "token")
        await settled(endpoint, HealthState.READY)
        there = await spoken(endpoint, "Hello there.", manner("af_sky", "af_bella", speed=3))
    finally:
        child.terminate()
        assert await child.wait() == 0
    assert np.array_equal(here, there)


@asynccontextmanager
async def served(model: Path, folder: Path) -> AsyncIterator[Endpoint]:
    port = free_port()
    engine = PROVIDER.native(slot(), ModelFiles(model), replace(placement(folder), port=port))
    assert engine is not None
    await engine.start()
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{port}", "token")
        await settled(endpoint, HealthState.READY)
        yield endpoint
    finally:
        await engine.stop()


async def settled(endpoint: Endpoint, state: HealthState) -> str:
    """Its detail, once the load is over."""
    async with asyncio.timeout(60):
        while (health := await PROVIDER.health(endpoint)).state in (HealthState.STARTING, HealthState.WARMING):
            await asyncio.sleep(0.02)
    assert health.state is state, health
    return health.detail


@asynccontextmanager
async def asked(endpoint: Endpoint, text: str, how: Manner) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(headers=headers) as http,
        http.post(endpoint.url + SPEECH_PATH, data=SpeechRequest.of(text, how).model_dump_json()) as response,
    ):
        yield response


async def spoken(endpoint: Endpoint, text: str, how: Manner) -> Samples:
    async with asked(endpoint, text, how) as response:
        assert response.status == 200, await response.text()
        assert (response.content_type, response.headers[RATE_HEADER]) == (CONTENT_TYPE, str(RATE))
        return np.frombuffer(await response.read(), "<i2").astype(np.float32)
