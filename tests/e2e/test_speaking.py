"""Text to speech as its users see it: the official client against a running server, and an engine that is killed."""

import io
import os
import signal
from collections.abc import Iterator
from typing import Any

import av
import httpx
import httpx2
import openai
import pytest

from tests.e2e.demo import demo
from tests.e2e.test_speech import replicas
from tests.support.server import Server, ServerPark

pytestmark = pytest.mark.e2e

TEXT = "The first sentence is short. The second one says a little more than that."
FORMATS = {"mp3": 24_000, "opus": 48_000, "aac": 24_000, "flac": 24_000, "wav": 24_000}
"""And the rate of what is decoded."""


@pytest.fixture(scope="module")
def server(servers: ServerPark) -> Server:
    return demo(servers)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=60, max_retries=0) as client:
        yield client


def spoken(client: Any, text: str = TEXT, voice: Any = "af_heart", format: str = "pcm", **more: Any) -> bytes:
    answer = client.audio.speech.create(model="tts", input=text, voice=voice, response_format=format, **more)
    return bytes(answer.content)


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / 24_000


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_the_same_speech(client: Any, format: str) -> None:
    expected = seconds(spoken(client))
    with av.open(io.BytesIO(spoken(client, format=format)), "r") as file:
        frames = list(file.decode(audio=0))
    assert frames[0].sample_rate == FORMATS[format] and frames[0].layout.nb_channels == 1
    assert sum(frame.samples for frame in frames) / FORMATS[format] == pytest.approx(expected, abs=0.12)


def test_mp3_is_what_comes_by_default(client: Any) -> None:
    answer = client.audio.speech.create(model="tts-1", input=TEXT, voice="alloy")
    assert answer.response.headers["content-type"] == "audio/mpeg"
    with av.open(io.BytesIO(answer.content), "r") as file:
        assert file.format.name == "mp3"


def test_voices_and_speeds_are_heard(client: Any) -> None:
    normal = spoken(client)
    assert spoken(client) == normal
    assert spoken(client, voice="am_onyx") != normal
    assert spoken(client, voice={"id": "am_onyx"}) == spoken(client, voice="onyx") == spoken(client, voice="am_onyx")
    assert seconds(spoken(client, speed=2.0)) == pytest.approx(seconds(normal) / 2, rel=0.15)
    assert seconds(spoken(client, speed=0.25)) == pytest.approx(seconds(normal) * 4, rel=0.15)
    assert spoken(client, voice="af_bella(2)+af_sky(1)") == spoken(client, voice="af_bella(4) + af_sky(2)") != normal


def test_a_stream_of_events(server: Server) -> None:
    body = {"model": "tts", "input": TEXT, "voice": "af_heart", "response_format": "wav", "stream_format": "sse"}
    with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=body, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert all("speech.audio.delta" in event for event in events[:-1]) and len(events) > 2
    assert "speech.audio.done" in events[-1] and "input_tokens" in events[-1]


def test_voices_and_models_are_listed_without_waking_a_slot(server: Server) -> None:
    voices = server.get("/v1/audio/voices")["voices"]
    ids = {voice["id"] for voice in voices}
    assert {"af_heart", "bm_george", "jf_alpha", "zm_yunyang", "alloy", "nova"} <= ids
    assert len(ids) == 54 + 11, "its own, and the names that OpenAI's clients send"
    assert all(voice["language"] and voice["model"] == "tts" for voice in voices)
    assert server.get("/v1/audio/models")["models"] == [{"id": "tts", "name": "tts"}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"input": ""}, "input"),
        ({"input": " ... !? "}, "input"),
        ({"input": "\x00\x07"}, "input"),
        ({"input": "a" * 70_000}, "input"),
        ({"speed": 5}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "xml"}, "stream_format"),
        ({"voice": "af_bella(0)+af_sky"}, "voice"),
    ],
)
def test_what_cannot_be_spoken_is_refused(server: Server, change: dict[str, object], param: str) -> None:
    body = {"model": "tts", "input": TEXT, "voice": "af_heart"} | change
    status, answer, _ = server.post("/v1/audio/speech", body)
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_a_voice_to_clone_needs_a_slot_that_clones(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/audio/voices", data={"name": "me"}, files={"file": b"RIFF"}, timeout=60)
    assert answer.status_code == 400 and "clone" in answer.json()["error"]["message"]


@pytest.mark.parametrize("format", ["mp3", "wav", "flac"])
def test_speech_that_breaks_off_does_not_look_whole(client: Any, server: Server, format: str) -> None:
    text = " ".join(["Every sentence of this book has exactly nine words."] * 500)
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.audio.speech.with_streaming_response.create(
            model="tts", input=text, voice="af_heart", response_format=format
        ) as answer,
    ):
        for count, _ in enumerate(answer.iter_bytes(1024)):
            if count == 3:
                (replica,) = replicas(server, "tts")
                os.kill(replica, signal.SIGKILL)
    assert spoken(client)
