"""A voice that a client brings, from its sample to its speech, on a tiny F5-TTS in an environment of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from providers.tiny.tones import tones
from tests.e2e.demo import config, make_models, slot
from tests.e2e.test_speech import STT
from tests.support.f5_child import python_with_f5, run
from tests.support.server import Server, ServerPark
from tests.support.wav import wav

pytestmark = pytest.mark.e2e

SAID = ["alpha", "bravo", "charlie", "delta"] * 4
SAMPLE = wav(tones(SAID, before_s=0.2, after_s=0.2))
CLONE = (
    "{name: clone, provider: f5-tts, model: demo-clone/tiny-f5.safetensors, capabilities: [speech], device: cpu,"
    " companions: {vocab: demo-clone/vocab.txt, vocoder: demo-clone/vocos}, options: {nfe_step: 2, python: PYTHON}}"
)


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    python = python_with_f5()

    def prepare(home: Path) -> None:
        make_models(home)
        run(python, "-m", "providers.tiny.f5", str(home / "models" / "demo-clone"))

    slots = f"[{CLONE.replace('PYTHON', python)}, {slot(STT)}]"
    return servers.running(config(slots), prepare=prepare)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0) as client:
        yield client


def bring(server: Server, name: str, sample: bytes = SAMPLE, **fields: str) -> httpx.Response:
    files = {"file": ("sample.wav", sample)}
    return httpx.post(f"{server.url}/v1/audio/voices", data={"name": name} | fields, files=files, timeout=60)


def seconds(client: Any, text: str, voice: str) -> float:
    answer = client.audio.speech.create(model="clone", input=text, voice=voice, response_format="pcm")
    return len(answer.content) / 2 / 24_000


def test_a_voice_is_brought_used_and_removed(server: Server, client: Any) -> None:
    brought = bring(server, "grandma", transcript=" ".join(SAID))
    assert brought.status_code == 200, brought.text
    assert brought.json()["id"] in {voice["id"] for voice in server.get("/v1/audio/voices")["voices"]}
    short, long = (
        seconds(client, "Good night.", "grandma"),
        seconds(client, "Good night, and sleep well, my dear.", "grandma"),
    )
    assert 0 < short < long
    assert seconds(client, "Good night.", brought.json()["id"]) == pytest.approx(short, rel=0.3)
    removed = httpx.delete(f"{server.url}/v1/audio/voices/grandma")
    assert removed.json()["deleted"] is True
    with pytest.raises(openai.BadRequestError, match="grandma") as refused:
        seconds(client, "Good night.", "grandma")
    assert refused.value.code == "unknown_voice"


def test_a_sample_without_its_text_is_written_down(server: Server) -> None:
    brought = bring(server, "radio")
    assert brought.status_code == 200, brought.text
    assert brought.json()["transcript"].split() == SAID


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (b"no sound at all", "invalid_audio"),
        (wav(tones(["alpha"])), "audio_too_short"),
        (wav(tones(["alpha"] * 150)), "audio_too_long"),
        (wav(tones([], before_s=5.0)), "no_speech"),
    ],
)
def test_what_is_no_voice_is_refused(server: Server, sample: bytes, code: str) -> None:
    refused = bring(server, "nobody", sample, transcript="text")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
