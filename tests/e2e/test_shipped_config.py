"""configs/hal0.yaml unchanged but for its port, its models served by a local Hub."""

from pathlib import Path

import numpy as np
import openai
import pytest
import yaml
from numpy.typing import NDArray

from providers.tiny import make_demo_models
from providers.tiny.kokoro import styles
from providers.tiny.moonshine import make_moonshine_streaming
from providers.tiny.tones import tones
from tests.e2e.demo import ROOT
from tests.support.asr_speech import speech
from tests.support.hub import Hub
from tests.support.server import ServerPark
from tests.support.wav import wav

pytestmark = pytest.mark.e2e

TINY = {
    "chat": "tiny-chat.gguf",
    "vision": "tiny-chat.gguf",
    "embed": "tiny-embed.gguf",
    "rerank": "tiny-rerank.gguf",
    "stt": "tiny-moonshine-streaming",
    "whisper": "tiny-whisper",
    "tts": "tiny-kokoro/kokoro-v1.0.onnx",
}
COMPANIONS = {"mmproj": "tiny-mmproj.gguf", "voices": "tiny-kokoro-voices"}


def repos(text: str, models: Path) -> dict[str, dict[str, Path]]:
    """Every Hub file that the configuration names, as a file of a tiny model of the same kind."""
    found: dict[str, dict[str, Path]] = {}
    for slot in yaml.safe_load(text)["applications"][0]["args"]["slots"]:
        sources = {slot["model"]: TINY[slot["name"]]}
        sources |= {source: COMPANIONS[role] for role, source in slot.get("companions", {}).items()}
        for source, tiny in sources.items():
            organisation, name, *path = source.removeprefix("hf://").split("/")
            found.setdefault(f"{organisation}/{name}", {}).update(files_at("/".join(path), models / tiny))
    return found


def files_at(path: str, model: Path) -> dict[str, Path]:
    """A file at its path, or a folder's files below it."""
    return {f"{path}{file.name}": file for file in model.iterdir()} if model.is_dir() else {path: model}


def write_voices(folder: Path) -> None:
    """A file for each voice, as the Hub's repository has them."""
    folder.mkdir()
    for name, style in styles().items():
        style.tofile(folder / f"{name}.bin")


def test_every_slot_pulls_its_model_and_answers(servers: ServerPark, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "hal0.yaml").read_text()
    make_demo_models(tmp_path / "tiny")
    make_moonshine_streaming(tmp_path / "tiny" / "tiny-moonshine-streaming")
    write_voices(tmp_path / "tiny" / "tiny-kokoro-voices")
    with Hub(repos(text, tmp_path / "tiny")) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        server = servers.running(text.replace("port: 8080", "port: PORT"), env)
        assert {slot["state"] for slot in server.get("/api/slots")["slots"]} == {"offline"}
        user = [{"role": "user", "content": "hi"}]
        for path, body in (
            ("/v1/chat/completions", {"model": "chat", "messages": user}),
            ("/v1/chat/completions", {"model": "vision", "messages": user}),
            ("/v1/embeddings", {"model": "embed", "input": "hello world"}),
            ("/v1/rerank", {"model": "rerank", "query": "hello", "documents": ["world"]}),
        ):
            status, answer, _ = server.post(path, body)
            assert status == 200, answer
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=90, max_retries=0) as client:

            def heard(model: str, samples: NDArray[np.float32]) -> str:
                answer = client.audio.transcriptions.create(model=model, file=("speech.wav", wav(samples)))
                return str(answer.text)

            # A person speaks while tones sound: the detector hears the person, and the tiny model the tones.
            tone = tones(["bravo"] * 33)
            voice = speech("two_cities")[: len(tone)]
            assert set(heard("stt", 0.5 * voice / abs(voice).max() + 0.7 * tone).split()) == {"bravo"}
            assert heard("stt", tone) == heard("whisper-1", tone) == "", "tones alone are no speech"
            assert "hello world" in heard("whisper-1", voice)
            speech_file = client.audio.speech.create(model="tts-1", input="Hello.", voice="nova", response_format="wav")
            assert speech_file.content.startswith(b"RIFF") and len(speech_file.content) > 10_000
        servers.stop()


def test_a_hub_that_cannot_be_reached_is_said(servers: ServerPark, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "hal0.yaml").read_text().replace("port: 8080", "port: PORT")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    server = servers.running(text, env)
    status, answer, _ = server.post("/v1/embeddings", {"model": "embed", "input": "hello"})
    assert (status, answer["error"]["code"]) == (503, "hub_unreachable")
    assert "HF_ENDPOINT" in answer["error"]["message"]
    servers.stop()
