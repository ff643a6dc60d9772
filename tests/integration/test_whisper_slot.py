"""A slot on faster-whisper at its port: a file in parts, utterances, and a load that fails."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from providers.asr.messages import EVENT, Done, End, Heard, Start, TurnDetection
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment
from providers.base import Endpoint, Health, HealthState, ModelFiles
from providers.tiny.tones import tones
from providers.tiny.whisper import make_whisper
from providers.whisper.provider import FasterWhisper
from providers.whisper.recognizer import LONGEST_PIECE_S
from tests.support.whisper_slot import TEXT, WORDY, check_words, noise, placement, slot, starts_s

MESSAGE = 2**19
Probe = Callable[[], Awaitable[Health]]


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper"
    make_whisper(folder)
    return folder


async def test_a_slot_answers_at_its_port(multilingual: Path, tmp_path: Path) -> None:
    async with served(multilingual, tmp_path) as (port, health):
        await settled(health, HealthState.READY)
        samples = noise(300)
        samples[200 * SAMPLE_RATE : 201 * SAMPLE_RATE] = 0
        segments, done = await transcribed(port, samples, WORDY)
        # Windows of 30 s, those of the second piece from where it begins: in the pause.
        second = segments[7].start_s
        assert 200 <= second <= 201 < LONGEST_PIECE_S
        expected = [*(30 * window for window in range(7)), *(second + 30 * window for window in range(4))]
        assert starts_s(segments) == pytest.approx(expected, abs=0.021)
        for segment in segments:
            check_words(segment)
        assert done.duration_s == pytest.approx(300) and done.language == "en"
        assert done.language_probability == pytest.approx(1, abs=0.01)


async def test_spoken_pieces_are_heard_one_by_one(multilingual: Path, tmp_path: Path) -> None:
    """As a client asks with a chunking strategy, and as a live session does."""
    samples = np.concatenate([tones(["alpha", "bravo"] * 4, before_s=1.0, after_s=1.0)] * 2)
    async with served(multilingual, tmp_path) as (port, health):
        await settled(health, HealthState.READY)
        segments, _ = await transcribed(port, samples, Asked(), TurnDetection())
        assert [segment.text for segment in segments] == [TEXT, TEXT]


async def test_a_wrong_folder_is_told_as_the_loads_failure(tmp_path: Path) -> None:
    async with served(tmp_path, tmp_path) as (_, health):
        assert "such as hf://Systran/faster-whisper-small" in await settled(health, HealthState.DEAD)


@asynccontextmanager
async def served(model: Path, folder: Path) -> AsyncIterator[tuple[int, Probe]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = FasterWhisper()
    engine = provider.native(slot(), ModelFiles(model), placement(folder, port=port))
    assert engine is not None
    await engine.start()
    try:
        yield port, lambda: provider.health(Endpoint(f"http://127.0.0.1:{port}", "token"))
    finally:
        await engine.stop()


async def settled(probe: Probe, state: HealthState) -> str:
    """Its detail, once the load is over."""
    async with asyncio.timeout(30):
        while (health := await probe()).state in (HealthState.STARTING, HealthState.WARMING):
            await asyncio.sleep(0.01)
    assert health.state is state, health
    return health.detail


async def transcribed(
    port: int, samples: Samples, asked: Asked, turns: TurnDetection | None = None
) -> tuple[list[Segment], Done]:
    segments: list[Segment] = []
    content = (samples * 32767).clip(-32768, 32767).astype("<i2").tobytes()
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(headers={"Authorization": "Bearer token"}) as http,
        http.ws_connect(f"http://127.0.0.1:{port}{SESSION_PATH}") as session,
    ):
        await session.send_str(Start(asked=asked, turns=turns).model_dump_json())
        for at in range(0, len(content), MESSAGE):
            await session.send_bytes(content[at : at + MESSAGE])
        await session.send_str(End().model_dump_json())
        async for message in session:
            event = EVENT.validate_json(message.data)
            if isinstance(event, Done):
                return segments, event
            assert isinstance(event, Heard), event
            segments.append(event.segment)
    raise AssertionError("the session ended early")
