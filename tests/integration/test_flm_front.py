"""FLM behind its front: three roles at one address, one request at a time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from providers.asr.messages import Final, Start, TurnDetection
from providers.tiny.tones import tones
from tests.support.asr_bench import until
from tests.support.flm_client import ANSWER, pulled
from tests.support.flm_front import Fronted, events, fronted, nothing_left_of_fronts, slot

pytestmark = pytest.mark.engine
SAID = ("alpha", "charlie", "hotel")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled(tmp_path_factory.mktemp("flm"))


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    await nothing_left_of_fronts()


@pytest.fixture
async def served(home: Path) -> AsyncIterator[Fronted]:
    async with fronted(home, slot(), FLM_EMULATOR_FAULT="crash-under-load") as made:
        yield made


async def test_all_roles(served: Fronted) -> None:
    status, answer = await served.chat()
    assert (status, answer["choices"][0]["message"]["content"]) == (200, ANSWER)
    assert answer["model"] == "npu" and answer["choices"][0]["finish_reason"] == "stop"
    async with served.chatting(stream=True, stream_options={"include_usage": True}) as response:
        assert response.content_type == "text/event-stream"
        *chunks, counted, done = await events(response)
    assert done == "[DONE]" and counted["choices"] == [] and counted["usage"]["completion_tokens"]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == ANSWER
    texts = [f"text {order}" for order in range(19)]
    status, answer = await served.embed(*texts, dimensions=128)
    assert status == 200 and [item["index"] for item in answer["data"]] == list(range(19))
    assert all(len(item["embedding"]) == 128 for item in answer["data"])
    assert answer["data"][18]["embedding"] == (await served.embed(texts[18], dimensions=128))[1]["data"][0]["embedding"]
    heard = await served.hear(*SAID)
    assert heard.text == " ".join(SAID) and not heard.failed and heard.done is not None


async def test_what_is_said_is_heard_live(served: Fronted) -> None:
    async with served.sessions.call(Start(live=True, turns=TurnDetection())) as caller:
        await caller.speak(tones(SAID, before_s=0.2, after_s=1.0))
        await caller.wait_for(Final)
        assert caller.finals == [" ".join(SAID)]


async def test_long_speech_is_cut(served: Fronted) -> None:
    """Pieces of at most 30 s."""
    words = ["alpha", "bravo"] * 80
    assert (await served.hear(*words)).text == " ".join(words)


async def test_strangers_are_refused(served: Fronted) -> None:
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        assert (await served.ask(path, {}, token="wrong"))[0] == 401
    assert await served.sessions.status("wrong") == 401
    assert await served.sessions.status() == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", [], 400, None),
        ("/v1/chat/completions", {"messages": []}, 400, None),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "long " * 5000}]},
            400,
            "context_length_exceeded",
        ),
        ("/v1/embeddings", {}, 400, None),
    ],
)
async def test_errors_are_openais(served: Fronted, path: str, body: Any, status: int, code: str | None) -> None:
    for more in ({}, {"stream": True}) if isinstance(body, dict) else ({},):
        got, answer = await served.ask(path, body | more if isinstance(body, dict) else body)
        assert got == status and answer["error"]["message"], answer
        assert code is None or answer["error"]["code"] == code


@pytest.mark.parametrize(
    ("capability", "model"),
    [("embedding", "embed-gemma:300m"), ("transcription", "whisper-v3:turbo"), ("chat", "qwen3:0.6b")],
)
async def test_a_slot_of_one_capability(home: Path, capability: str, model: str) -> None:
    async with fronted(home, slot(capability, model=model)) as served:
        statuses = {
            "chat": (await served.chat())[0],
            "embedding": (await served.embed("a"))[0],
            "transcription": await served.sessions.status(),
        }
        # The last one is answered to what is no WebSocket.
        right = {"chat": 200, "embedding": 200, "transcription": 400}
        assert statuses == {name: right[name] if name == capability else 501 for name in right}


async def test_fifty_requests_of_ten_clients(served: Fronted) -> None:
    """FLM would crash if two came at once."""

    async def ask(order: int) -> object:
        match order % 4:
            case 0:
                return (await served.chat())[1]["choices"][0]["message"]["content"]
            case 1:
                async with served.chatting("Say 3 words", stream=True) as response:
                    return len(await events(response))
            case 2:
                return len((await served.embed(*"abcdefghij"))[1]["data"])
            case _:
                return (await served.hear(*SAID)).text

    async def client(first: int) -> list[object]:
        return [await ask(order) for order in range(first, 50, 10)]

    async with asyncio.timeout(120):
        answers = await asyncio.gather(*(client(first) for first in range(10)))
    expected = [ANSWER, 5, 10, " ".join(SAID)]
    assert answers == [[expected[order % 4] for order in range(first, 50, 10)] for first in range(10)]
    assert served.engine.process.poll() is None and not served.broken.done()


async def test_an_embedding_goes_before_queued_chats(served: Fronted) -> None:
    ended: list[str] = []

    async def chat() -> None:
        await served.chat("Say 60 words")
        ended.append("chat")

    chats = [asyncio.create_task(chat()) for _ in range(4)]
    before = served.begun
    await until(lambda: served.begun > before)
    assert (await served.embed("now"))[0] == 200
    ended.append("embedding")
    await asyncio.gather(*chats)
    assert ended.index("embedding") <= 1


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_leaves_frees_the_npu(served: Fronted, streams: bool) -> None:
    before = served.begun
    leaving = asyncio.create_task(_read(served, "Say 1000000 words", streams))
    await until(lambda: served.begun > before)
    queued = asyncio.create_task(_read(served, "Say 1000000 words", streams))
    assert not served.idle
    for task in (queued, leaving):
        task.cancel()
    await until(lambda: served.idle)
    assert served.begun == before + 1
    assert (await served.chat())[0] == 200


async def test_a_client_that_leaves_at_any_moment(served: Fronted) -> None:
    """The next request is not begun beside the one that was left."""
    for order in range(12):
        leaving = asyncio.create_task(_read(served, "Say 500 words", streams=order % 2 == 0))
        await asyncio.sleep(0.003 * order)
        leaving.cancel()
        assert (await served.embed("a"))[0] == 200
    assert served.engine.process.poll() is None


async def test_who_does_not_read_does_not_hold_the_npu(home: Path) -> None:
    async with (
        fronted(home, slot("chat", context_size=32768), FLM_EMULATOR_TOKENS_PER_S="1000000") as served,
        served.chatting("Say 10000 words", stream=True) as response,
    ):
        (link,) = served.front._links
        link.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert (await served.chat())[0] == 200
        assert served.front._links, "the kernel has all of it: that is no test"
        assert len(await events(response)) == 10_000 + len(("the end", "[DONE]"))


async def test_a_session_that_is_left_ends_its_piece(served: Fronted) -> None:
    """It waits for its turn behind a chat that does not end by itself."""
    before = served.begun
    chat = asyncio.create_task(_read(served, "Say 1000000 words", streams=True))
    await until(lambda: served.begun > before)
    async with served.sessions.call(Start()) as caller:
        await caller.speak(tones(SAID, after_s=2.0))
        await until(lambda: served.front._engine._npu.waiting == 1)
    await until(lambda: served.front._engine._npu.waiting == 0)
    chat.cancel()


async def _read(served: Fronted, text: str, streams: bool) -> None:
    async with served.chatting(text, stream=streams, max_tokens=4000) as response:
        await response.read()
