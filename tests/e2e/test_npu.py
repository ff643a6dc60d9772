"""FLM on the emulated NPU, as its users see it: three roles in one process, pulls, faults, and slots that share it."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from providers.tiny.tones import tones
from tests.e2e.demo import config
from tests.e2e.test_speech import replicas
from tests.support.flm import environment
from tests.support.server import Record, Server, ServerPark, eventually, owned_processes
from tests.support.stream import ChatStream
from tests.support.watcher import Watcher
from tests.support.wav import wav

pytestmark = pytest.mark.e2e

PATIENCE_S = 90
USER = [{"role": "user", "content": "Hi"}]
ANSWER = "Hello from the tiny model!!"
SAID = ["alpha", "charlie", "hotel"]
ROLES = "[chat, embedding, transcription]"
FAULTY = {
    "unplugged": "driver-missing",
    "outdated": "firmware-too-old",
    "locked": "memlock-low",
    "taken": "npu-busy",
    "mute": "broken-models",
    "stuck": "hang-at-load",
    "crashing": "crash-at-load",
    "absent": "offline",
}
USELESS = {"silent": "hang-in-generation", "hollow": "empty-answers"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the emulator keeps models, and where each slot's faults are written."""

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def faults(self, slot: str, text: str = "") -> None:
        file = self.folder / "faults" / slot
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def slot(self, name: str, capabilities: str = "[chat]", models: str = "", **more: object) -> str:
        """In YAML's flow style."""
        env = {
            "FLM_EMULATOR_FAULT_FILE": self.folder / "faults" / name,
            "FLM_MODEL_PATH": self.folder / (models or "models"),
        }
        listed = ", ".join(f"{key}: '{value}'" for key, value in env.items())
        options = f"voice_detector: level, silence_s: 4, env: {{{listed}}}"
        fields: dict[str, object] = {
            "name": name,
            "provider": "flm",
            "model": "'qwen3:0.6b'",
            "capabilities": capabilities,
        }
        fields |= {"idle_after_s": 1, "options": f"{{{options}}}"} | more
        return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("flm"))


@pytest.fixture(scope="module")
def server(servers: ServerPark, place: Place) -> Iterator[Server]:
    aliases = "{embed-npu: embedding, stt-npu: transcription}"
    slots = [
        place.slot("npu", ROLES, role_aliases=aliases),
        place.slot("rival"),
        place.slot("fresh", ROLES, "fresh"),
        place.slot("cut", "[embedding]", "cut", model="'embed-gemma:300m'"),
        *(place.slot(name) for name in USELESS),
        *(place.slot(name, ROLES, "none" if name == "absent" else "", load_timeout_s=8) for name in FAULTY),
    ]
    for name in ("npu", "rival", "fresh", "cut", *USELESS, *FAULTY):
        place.faults(name)
    server = servers.running(config(f"[{', '.join(slots)}]"), env=environment(place.models))
    yield server
    server.stop()
    server.assert_nothing_left()
    assert owned_processes(place.folder) == []


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=PATIENCE_S, max_retries=0) as client:
        yield client


def chat(server: Server, slot: str = "npu", **more: object) -> tuple[int, Record, Any]:
    return server.post("/v1/chat/completions", {"model": slot, "messages": USER} | more)


def engines(place: Place) -> list[int]:
    """Pids of every emulated `flm serve`, without their guards."""
    lines = owned_processes(place.folder)
    return [pid for pid, line in lines if "--ctx-len" in line and "guard.py" not in line]


def transcribed(client: Any, words: list[str], model: str = "stt-npu", **more: Any) -> Any:
    return client.audio.transcriptions.create(model=model, file=("speech.wav", wav(tones(words))), **more)


def test_every_role_by_every_name(server: Server, client: Any) -> None:
    answer = client.chat.completions.create(model="npu", messages=USER)
    assert answer.choices[0].message.content == ANSWER and answer.model == "npu"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    same, other = (client.embeddings.create(model=name, input="a b").data[0].embedding for name in ("npu", "embed-npu"))
    assert same == other and len(same) == 768
    assert transcribed(client, SAID).text == transcribed(client, SAID, "npu").text == " ".join(SAID)
    with pytest.raises(openai.BadRequestError, match="name the slot itself"):
        client.chat.completions.create(model="embed-npu", messages=USER)
    record = server.slot("npu")
    assert record["models"] == {
        "chat": "qwen3:0.6b",
        "embedding": "embed-gemma:300m",
        "transcription": "whisper-v3:turbo",
    }
    assert record["resources"] == {"npu": 1}
    listed = {model.id: model.capabilities for model in client.models.list()}
    assert listed["embed-npu"] == ["embedding"] and listed["stt-npu"] == ["transcription"]


def test_formats_that_the_engine_does_not_have(client: Any) -> None:
    assert "-->" in transcribed(client, SAID, response_format="srt")
    assert transcribed(client, SAID, response_format="vtt").startswith("WEBVTT")
    answer = transcribed(client, SAID, response_format="verbose_json")
    assert answer.text == " ".join(SAID) and answer.segments[0].end <= answer.duration
    events = list(transcribed(client, SAID, stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == " ".join(SAID)
    with pytest.raises(openai.BadRequestError, match="when words are spoken"):
        transcribed(client, SAID, response_format="verbose_json", timestamp_granularities=["word"])


def test_a_stream_as_openai_streams(client: Any) -> None:
    stream = client.chat.completions.create(
        model="npu", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    short = client.chat.completions.create(model="npu", messages=USER, max_tokens=3)
    assert short.choices[0].finish_reason == "length"


def test_fifty_requests_of_ten_clients_for_three_roles(server: Server, client: Any, place: Place) -> None:
    """A second request at the same time would crash the engine: they come one by one."""
    place.faults("npu", "crash-under-load")
    before = engines(place)

    def ask(order: int) -> Any:
        match order % 3:
            case 0:
                return client.chat.completions.create(model="npu", messages=USER).choices[0].message.content
            case 1:
                return len(client.embeddings.create(model="embed-npu", input=["a", "b"]).data)
            case _:
                return transcribed(client, SAID).text

    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(ask, range(50)))
    place.faults("npu")
    assert answers == [[ANSWER, 2, " ".join(SAID)][order % 3] for order in range(50)]
    assert engines(place) == before


def test_an_embedding_does_not_wait_behind_every_chat(server: Server, client: Any) -> None:
    """One chat is being answered when it comes, and has to end; it goes before all others."""
    ended: list[str] = []

    def speak(_: int) -> None:
        chat(server, messages=[{"role": "user", "content": "Say 400 words"}], max_tokens=400)
        ended.append("chat")

    with ThreadPoolExecutor(6) as clients:
        chats = [clients.submit(speak, order) for order in range(6)]
        eventually("four chats are with the engine", lambda: server.slot("npu")["in_flight"] >= 4)
        before = len(ended)
        client.embeddings.create(model="embed-npu", input="now")
        ended.append("embedding")
        for one in chats:
            one.result()
    assert ended.index("embedding") <= before + 1


def test_files_that_take_long_leave_chats_their_places(server: Server, client: Any) -> None:
    """As many as would fill the slot, were they counted; a piece of each is between two chats."""
    long = SAID * 20
    with ThreadPoolExecutor(8) as clients:
        files = [clients.submit(transcribed, client, long) for _ in range(8)]
        eventually("all are with the engine", lambda: server.slot("npu")["in_flight"] == 8 or files[0].done())
        assert chat(server)[0] == 200
        assert all(one.result().text == " ".join(long) for one in files)


def test_states_of_a_first_load(server: Server, place: Place) -> None:
    """A pull that takes seconds tells how far it is."""
    place.faults("fresh", "pull-slow:3")
    server.post("/api/slots/npu/unload", {})
    server.wait_for_state("npu", "offline")
    with Watcher(server) as watcher:
        status, answer, _ = chat(server, "fresh")
        assert status == 200, answer
        watcher.wait_for("it is idle", lambda event: event["name"] == "fresh" and event["state"] == "idle")
    expected = ["pulling", "starting", "warming", "ready", "serving"]
    # Whoever held the NPU before may still be leaving when the pull is done: it waits, and says for whom.
    states = [event["state"] for event in watcher.of("fresh") if not (event["state"] == "offline" and event["waiting"])]
    moves = [state for at, state in enumerate(states) if states[at - 1 : at] != [state]]
    assert moves[1 : len(expected) + 1] == expected, watcher.of("fresh")
    told = [event["progress"] for event in watcher.of("fresh") if event["state"] == "pulling" and event["progress"]]
    shares = [one["fraction"] for one in told if one.get("fraction") is not None]
    assert len(shares) > 2 and shares == sorted(shares) and shares[-1] <= 1


def test_killed_in_mid_pull_and_resumed(server: Server, place: Place) -> None:
    """What had come is kept, and half a file does not pass for a model."""
    place.faults("cut", "pull-slow:20")
    weights = place.folder / "cut" / "models" / "Embedding-Gemma-300M-NPU2" / "model.q4nx"
    body = {"model": "cut", "input": "a"}
    answer: list[int] = []
    asking = threading.Thread(target=lambda: answer.append(server.post("/v1/embeddings", body)[0]))
    asking.start()
    eventually("weights come", lambda: weights.exists() and weights.stat().st_size > 1000, 60)
    (board,) = server.processes("ServeReplica:hal0:board")
    for pid in (*replicas(server, "cut"), board):
        os.kill(pid, signal.SIGKILL)
    eventually("its pull has ended with it", lambda: not server.processes("pull embed-gemma"), 20)
    had = weights.stat().st_size
    assert 1000 < had < 65536
    place.faults("cut")
    asking.join(PATIENCE_S)
    eventually("it answers", lambda: server.post("/v1/embeddings", body)[0] == 200, PATIENCE_S)
    assert weights.stat().st_size == 65536


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("unplugged", "engine_misconfigured", "finds no NPU"),
        ("outdated", "engine_misconfigured", "firmware"),
        ("locked", "engine_misconfigured", "memlock"),
        ("taken", "engine_exited", "NPU"),
        ("mute", "engine_unhealthy", "qwen3:0.6b"),
        ("stuck", "load_timeout", "load_timeout_s (8 s)"),
        ("crashing", "engine_exited", "Aborted"),
        ("absent", "offline", "network"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_its_cause(
    server: Server, place: Place, name: str, code: str, words: str
) -> None:
    place.faults(name, FAULTY[name])
    status, answer, _ = chat(server, name)
    assert (status, answer["error"]["code"]) == (503, code), answer
    assert words in answer["error"]["message"], answer
    place.faults(name)
    status, _, _ = server.post(f"/api/slots/{name}/load", {})
    assert status == 200
    server.wait_for_state(name, "ready", "idle", timeout_s=PATIENCE_S)
    status, answer, _ = chat(server, name)
    assert status == 200 and answer["choices"][0]["message"]["content"] == ANSWER, answer


def test_a_crash_in_mid_stream_is_an_error_and_one_restart(server: Server, place: Place) -> None:
    chat(server)
    (first,) = engines(place)
    stream = ChatStream(server, "npu", "Say 2000 words")
    stream.read_events(3)
    os.kill(first, signal.SIGKILL)
    assert b'"error"' in stream.rest()
    assert chat(server)[0] == 200
    assert len(engines(place)) == 1 and engines(place) != [first]


@pytest.mark.parametrize(("name", "fault"), USELESS.items())
def test_an_engine_that_is_up_and_useless_is_started_anew(server: Server, place: Place, name: str, fault: str) -> None:
    """The request that found out is answered by the next one."""
    chat(server, name)
    (first,) = engines(place)
    place.faults(name, fault)
    asking = ThreadPoolExecutor(1).submit(chat, server, name)
    eventually("the engine is stopped", lambda: first not in engines(place), 40)
    place.faults(name)
    status, answer, _ = asking.result(PATIENCE_S)
    assert status == 200 and answer["choices"][0]["message"]["content"] == ANSWER, answer
    assert first not in engines(place)


def test_a_client_that_leaves_frees_the_npu(server: Server) -> None:
    stream = ChatStream(server, "npu", "Say 100000 words")
    stream.read_events(3)
    stream.leave()
    assert chat(server)[0] == 200


def test_two_slots_share_the_npu(server: Server, place: Place) -> None:
    assert chat(server)[0] == 200
    with Watcher(server) as watcher:
        assert chat(server, "rival")[0] == 200
        assert server.slot("npu")["state"] == "offline"
        assert chat(server)[0] == 200
        waits = [event["waiting"] for event in watcher.of("rival") if event["waiting"]]
    assert all(wait["blockers"] == ["npu"] for wait in waits)
    assert len(engines(place)) == 1
