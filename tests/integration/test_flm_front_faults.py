"""What the front makes of an FLM that is broken, and how it is stopped whatever happens."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from providers.asr.messages import End, Failed, Start
from providers.flm import reply, watchdog
from providers.tiny.tones import tones
from tests.support.asr_bench import until
from tests.support.flm_client import ANSWER, pulled
from tests.support.flm_front import PATIENCE_S, Fronted, events, fronted, nothing_left_of_fronts, slot
from tests.support.server import free_port

pytestmark = pytest.mark.engine
HANG, EMPTY = "hang-in-generation", "empty-answers"
AT_ONCE_S = 4.0
"""Less than a stop takes that waits for a thread."""
ENDLESS = "Say 1000000 words"
Doing = Callable[[Fronted], Awaitable[object]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled(tmp_path_factory.mktemp("flm"))


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    await nothing_left_of_fronts()


async def session(served: Fronted) -> list[Failed]:
    return (await served.hear("alpha")).failed


async def verdict(served: Fronted) -> str:
    return await asyncio.wait_for(asyncio.shield(served.broken), PATIENCE_S)


async def sent_away(asking: Awaitable[object]) -> bool:
    """Without a word of an answer, so that it is asked again elsewhere."""
    try:
        await asking
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
        return True
    return False


async def test_an_engine_that_hangs_is_found_out_and_all_who_wait_are_sent_away(home: Path) -> None:
    async with fronted(home, slot(silence_s=1)) as served:
        served.fault.write_text(HANG)
        before = served.begun
        first = asyncio.create_task(sent_away(served.chat(stream=True)))
        await until(lambda: served.begun > before)
        others = (sent_away(served.chat()), sent_away(served.embed("a")))
        *gone, failures = await asyncio.gather(first, *others, session(served))
        assert gone == [True, True, True]
        # What an engine says that is being stopped.
        assert isinstance(failures, list) and [failed.status for failed in failures] == [503]
        assert await verdict(served) == "it has said nothing for 1 s"
        assert await sent_away(served.embed("a"))


async def test_an_engine_that_hangs_after_its_client_has_left(home: Path) -> None:
    async with fronted(home, slot(silence_s=1)) as served:
        served.fault.write_text(HANG)
        before = served.begun
        leaving = asyncio.create_task(served.chat())
        await until(lambda: served.begun > before)
        leaving.cancel()
        assert "nobody waits for" in await verdict(served)


@pytest.mark.parametrize("streams", [False, True])
async def test_an_engine_that_has_nothing_to_say_to_anybody(home: Path, streams: bool) -> None:
    async with fronted(home, slot()) as served:
        served.fault.write_text(EMPTY)
        assert await sent_away(served.chat(stream=streams))
        assert await verdict(served) == "it answers chats with nothing"


@asynccontextmanager
async def taciturn() -> AsyncIterator[str]:
    """A model that has nothing to say to some."""

    async def answer(request: web.Request) -> web.Response:
        asked = (await request.json())["messages"][-1]["content"]
        said = [] if asked == "Silence!" else [{"choices": [{"delta": {"content": "Yes"}}]}]
        return web.Response(text="".join(f"data: {json.dumps(event)}\n\n" for event in said))

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_an_empty_answer_stands_if_the_engine_speaks_to_others(home: Path) -> None:
    async with (
        taciturn() as url,
        fronted(home, slot("chat"), FLM_EMULATOR_CHAT_URL=url, FLM_EMULATOR_FAULT="crash-under-load") as served,
    ):
        before = served.begun
        status, answer = await served.chat("Silence!")
        assert status == 200 and answer["choices"][0]["message"]["content"] == ""
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert served.begun == before + 2 and not served.broken.done()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("broken-models", "qwen3:0.6b does not chat: Failed to load qwen3:0.6b model."),
        (EMPTY, "qwen3:0.6b answers a chat with nothing."),
    ],
)
async def test_a_load_that_fails_tells_what_flm_says(
    home: Path, fault: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with fronted(home, slot(), load=False, fault=fault) as served:
        async with asyncio.timeout(PATIENCE_S):
            while (health := await served.health())[0] == 503:
                await asyncio.sleep(0.01)
        assert health[0] == 500 and told in health[1]["error"]["message"]
        assert told in caplog.text and "Traceback" not in caplog.text


async def test_a_load_waits_as_long_as_flm_does(home: Path) -> None:
    async with fronted(home, slot(), load=False, fault="hang-at-load") as served:
        await asyncio.to_thread(served.engine.wait_for, "Loading model")
        assert (await served.health())[0] == 503 and (await served.chat())[0] == 503
        served.fault.write_text("")
        await served.loaded()
        assert (await served.chat())[1]["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize("ask", ["chat", "embed", "session"])
async def test_an_engine_that_crashes_at_a_request(home: Path, ask: str) -> None:
    """The load's own three are the first."""
    async with fronted(home, slot(), FLM_EMULATOR_FAULT="crash-after:4") as served:
        if ask == "session":
            assert [failed.status for failed in await session(served)] == [503]
        else:
            assert await sent_away(served.chat() if ask == "chat" else served.embed("a"))
        assert await asyncio.to_thread(served.engine.process.wait, 30) == -signal.SIGABRT


async def test_an_engine_that_crashes_at_its_load(home: Path) -> None:
    """Its exit code tells more than a refused connection: the front waits."""
    async with fronted(home, slot(), load=False, fault="crash-at-load") as served:
        assert await asyncio.to_thread(served.engine.process.wait, 30) == -signal.SIGABRT
        assert (await served.health())[0] == 503


async def test_an_engine_that_dies_in_mid_stream_breaks_the_stream(home: Path) -> None:
    async with fronted(home, slot()) as served, served.chatting(ENDLESS, stream=True) as response:
        await response.content.readany()
        served.engine.process.kill()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_an_engine_that_lives_and_does_not_answer_is_broken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the other side of its port is not it."""
    monkeypatch.setattr(watchdog, "LOST_S", 0.2)
    async with fronted(home, slot("chat")) as served:
        served.engine.process.kill()
        assert await sent_away(served.chat())
        assert "its connection broke" in await verdict(served)


async def test_a_stream_that_waits_is_kept_alive(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, and errors as events after them."""
    monkeypatch.setattr(reply, "WAIT_S", 0.1)
    async with fronted(home, slot("chat")) as served:
        before = served.begun
        first = asyncio.create_task(served.chat("Say 100 words"))
        await until(lambda: served.begun > before)
        async with (
            served.chatting(stream=True) as well,
            served.chatting("long " * 5000, stream=True) as badly,
        ):
            told, failed = await events(well), await events(badly)
        await first
    assert told[0] == failed[0] == ": wait" and told[-1] == "[DONE]"
    assert failed[-1]["error"]["code"] == "context_length_exceeded"


async def chatting(served: Fronted) -> object:
    return await served.chat(ENDLESS)


async def streaming_unread(served: Fronted) -> None:
    async with served.chatting(ENDLESS, stream=True):
        await asyncio.sleep(PATIENCE_S)


async def hearing(served: Fronted) -> object:
    async with served.sessions.call(Start()) as caller:
        await caller.speak(tones(["alpha"] * 20))
        await caller.say(End())
        return await caller.all()


@pytest.mark.parametrize("fault", ["", HANG])
@pytest.mark.parametrize(
    "doing",
    [(), (chatting,), (chatting, chatting), (streaming_unread,), (chatting, hearing), (hearing,)],
    ids=lambda doing: "+".join(one.__name__ for one in doing) or "nothing",
)
async def test_a_stop_is_quick_whatever_is_done(home: Path, doing: tuple[Doing, ...], fault: str) -> None:
    async with fronted(home, slot()) as served:
        served.fault.write_text(fault)
        before = served.begun
        tasks: list[asyncio.Task[object]] = []
        for one in doing:
            tasks.append(asyncio.ensure_future(one(served)))
            await until(lambda: served.begun > before or not doing)
        async with asyncio.timeout(AT_ONCE_S):
            await served.front.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("when", ["at once", "Loading model"])
async def test_a_stop_is_quick_at_load(home: Path, when: str) -> None:
    async with fronted(home, slot(), load=False, fault="hang-at-load") as served:
        if when != "at once":
            await asyncio.to_thread(served.engine.wait_for, when)
        async with asyncio.timeout(AT_ONCE_S):
            await served.front.stop()
