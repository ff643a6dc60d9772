"""The shipped configurations unchanged but for their port, their models served by a local Hub."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from tests.support.faked_vulkan import faked_vulkan
from tests.support.flm import environment
from tests.support.hub import Hub
from tests.support.server import Server, ServerPark
from tests.support.wav import wav

pytestmark = pytest.mark.e2e

TINY = {
    ("llama.cpp", "chat"): "tiny-chat.gguf",
    ("llama.cpp", "embedding"): "tiny-embed.gguf",
    ("llama.cpp", "rerank"): "tiny-rerank.gguf",
    ("moonshine", "transcription"): "tiny-moonshine-streaming",
    ("faster-whisper", "transcription"): "tiny-whisper",
    ("kokoro", "speech"): "tiny-kokoro/kokoro-v1.0.onnx",
}
"""A tiny model of the same kind, by provider and first capability."""
COMPANIONS = {"mmproj": "tiny-mmproj.gguf", "voices": "tiny-kokoro-voices"}
OWN_MODELS = ("flm",)
"""Providers whose engine fetches its models itself."""


def repos(text: str, models: Path) -> dict[str, dict[str, Path]]:
    """Every Hub file that the configuration names, as a file of a tiny model of the same kind."""
    found: dict[str, dict[str, Path]] = {}
    for slot in slots_of(text):
        if slot["provider"] in OWN_MODELS:
            continue
        sources = {slot["model"]: TINY[slot["provider"], slot["capabilities"][0]]}
        sources |= {source: COMPANIONS[role] for role, source in slot.get("companions", {}).items()}
        for source, tiny in sources.items():
            organisation, name, *path = source.removeprefix("hf://").split("/")
            found.setdefault(f"{organisation}/{name}", {}).update(files_at("/".join(path), models / tiny))
    return found


def slots_of(text: str) -> list[dict[str, Any]]:
    slots: list[dict[str, Any]] = yaml.safe_load(text)["applications"][0]["args"]["slots"]
    return slots


def files_at(path: str, model: Path) -> dict[str, Path]:
    """A file at its path, or a folder's files below it."""
    return {f"{path}{file.name}": file for file in model.iterdir()} if model.is_dir() else {path: model}


def write_voices(folder: Path) -> None:
    """A file for each voice, as the Hub's repository has them."""
    folder.mkdir()
    for name, style in styles().items():
        style.tofile(folder / f"{name}.bin")


@pytest.fixture
def serving(servers: ServerPark, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server on a shipped configuration, its models at a local Hub."""
    make_demo_models(tmp_path / "tiny")
    make_moonshine_streaming(tmp_path / "tiny" / "tiny-moonshine-streaming")
    write_voices(tmp_path / "tiny" / "tiny-kokoro-voices")
    with contextlib.ExitStack() as stack:

        def start(config: str, **env: str) -> Server:
            text = (ROOT / "configs" / config).read_text()
            hub = stack.enter_context(Hub(repos(text, tmp_path / "tiny")))
            hub_env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
            return servers.running(text.replace("port: 8080", "port: PORT"), env | hub_env)

        yield start
        servers.stop()


def ask_all(server: Server, slots: list[dict[str, Any]]) -> None:
    """Each slot that reads and writes text for each of its capabilities."""
    user = [{"role": "user", "content": "hi"}]
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "chat": ("/v1/chat/completions", {"messages": user}),
        "embedding": ("/v1/embeddings", {"input": "hello world"}),
        "rerank": ("/v1/rerank", {"query": "hello", "documents": ["world"]}),
    }
    for slot in slots:
        for path, body in (asked[one] for one in slot["capabilities"] if one in asked):
            status, answer, _ = server.post(path, {"model": slot["name"]} | body)
            assert status == 200, answer


def heard(client: openai.OpenAI, model: str, samples: NDArray[np.float32]) -> str:
    return str(client.audio.transcriptions.create(model=model, file=("speech.wav", wav(samples))).text)


def test_every_slot_pulls_its_model_and_answers(serving: Callable[..., Server]) -> None:
    server = serving("hal0.yaml")
    assert {slot["state"] for slot in server.get("/api/slots")["slots"]} == {"offline"}
    ask_all(server, slots_of((ROOT / "configs" / "hal0.yaml").read_text()))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=90, max_retries=0) as client:
        # A person speaks while tones sound: the detector hears the person, and the tiny model the tones.
        tone = tones(["bravo"] * 33)
        voice = speech("two_cities")[: len(tone)]
        assert set(heard(client, "stt", 0.5 * voice / abs(voice).max() + 0.7 * tone).split()) == {"bravo"}
        assert heard(client, "stt", tone) == heard(client, "whisper-1", tone) == "", "tones alone are no speech"
        assert "hello world" in heard(client, "whisper-1", voice)
        speech_file = client.audio.speech.create(model="tts-1", input="Hello.", voice="nova", response_format="wav")
        assert speech_file.content.startswith(b"RIFF") and len(speech_file.content) > 10_000


def test_strix_halo_on_a_faked_gpu_and_an_emulated_npu(serving: Callable[..., Server], tmp_path: Path) -> None:
    """As `hal0 up` finds that machine's devices: by what its programs say of themselves."""
    env = environment(tmp_path / "flm")
    env["PATH"] = f"{faked_vulkan(tmp_path / 'bin')}{os.pathsep}{env['PATH']}"
    server = serving("strix-halo.yaml", **env)
    slots = slots_of((ROOT / "configs" / "strix-halo.yaml").read_text())
    devices = {slot["name"]: slot["device"] for slot in server.get("/api/slots")["slots"]}
    assert set(devices.values()) == {"vulkan", "npu", "cpu"}
    ask_all(server, slots)
    tone = tones(["bravo"] * 33)
    voice = speech("two_cities")[: len(tone)]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=90, max_retries=0) as client:
        for slot in slots:
            if "transcription" in slot["capabilities"]:
                assert heard(client, slot["name"], 0.5 * voice / abs(voice).max() + 0.7 * tone), slot["name"]
            if "speech" in slot["capabilities"]:
                answer = client.audio.speech.create(
                    model=slot["name"], input="Hello.", voice="af_heart", response_format="wav"
                )
                assert answer.content.startswith(b"RIFF")


def test_a_hub_that_cannot_be_reached_is_said(servers: ServerPark, tmp_path: Path) -> None:
    text = (ROOT / "configs" / "hal0.yaml").read_text().replace("port: 8080", "port: PORT")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    server = servers.running(text, env)
    status, answer, _ = server.post("/v1/embeddings", {"model": "embed", "input": "hello"})
    assert (status, answer["error"]["code"]) == (503, "hub_unreachable")
    assert "HF_ENDPOINT" in answer["error"]["message"]
    servers.stop()
