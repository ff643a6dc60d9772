"""FLM as the front asks it: one request at a time, each watched."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from pydantic import JsonValue

from providers.base import Endpoint, JsonObject
from providers.errors import EngineError
from providers.flm.client import FlmClient
from providers.flm.dialect.answer import ChatAnswer
from providers.flm.dialect.embeddings import engine_body
from providers.flm.dialect.request import ChatRequest, chat_request
from providers.flm.gone import EngineGone, EngineSilent
from providers.flm.npu import Npu
from providers.flm.options import FlmSlot
from providers.flm.watchdog import Watchdog

BATCH = 8
"""Texts that are embedded in one turn."""
UNREAD_S = 0.3
"""For FLM to begin a request that was cancelled right after it was sent: it would begin it later, beside the next."""
FIRST_POLL_S, SLOWEST_POLL_S = 0.002, 0.1
UNLOADED = "it is being unloaded"


class FlmEngine:
    """On the event loop that opens it. Every request raises `EngineGone` when the process is to be given up, for all
    who wait; and `EngineError` for what FLM refuses."""

    def __init__(self, slot: FlmSlot, engine: Endpoint) -> None:
        self._slot, self._silence_s = slot, slot.options.silence_s
        self._client = FlmClient(engine, self._silence_s)
        self._npu = Npu(self._settle)
        self._watchdog = Watchdog(self._give_up)
        self.gone = False
        """For good: closed, or found broken."""

    def open(self) -> None:
        self._client.open()

    async def close(self) -> None:
        """Ends what is under way. May be called again."""
        self._give_up(UNLOADED)
        self._watchdog.close()
        await self._client.close()
        await self._npu.close()

    async def broken(self) -> str:
        """Why the process must be started anew, once it must."""
        return await self._watchdog.broken()

    async def wait_for_load(self) -> None:
        await self._client.wait_for_load()

    async def speaks(self) -> bool:
        """Whether it says something, whatever that is."""
        async with self._turn(brief=False):
            return await self._says_something()

    async def chat(self, request: ChatRequest, tell: Callable[[list[JsonObject]], None]) -> ChatAnswer:
        """The whole answer, but for its `end`; `tell` gets its chunks as they come."""
        async with self._turn(brief=False):
            answer = await self._answered(request, tell)
            if answer.empty:
                await self._suspect()
            return answer

    async def embed(self, texts: Sequence[str]) -> JsonObject:
        """As FLM answers. Many texts take several turns, between which others have theirs."""
        data: list[JsonValue] = []
        for begin in range(0, len(texts), BATCH):
            async with self._turn(brief=True):
                answer = await self._client.embed(engine_body(texts[begin : begin + BATCH]))
            found = answer.get("data")
            data += found if isinstance(found, list) else []
        return {"data": data}

    async def hear(self, sound: bytes) -> str:
        """The text of a WAV file."""
        async with self._turn(brief=True):
            return await self._client.transcribe(sound)

    async def _answered(self, request: ChatRequest, tell: Callable[[list[JsonObject]], None]) -> ChatAnswer:
        answer = ChatAnswer(request)
        async with self._client.chat(request.engine) as pieces:
            async for piece in pieces:
                tell(answer.feed(piece))
                if answer.over:
                    return answer
        raise EngineGone("its answer broke off")

    async def _suspect(self) -> None:
        """A model may have nothing to say; an engine that has lost its senses says nothing to anybody.

        https://github.com/ROCm/FastFlowLM/issues/471
        """
        await self._settle(False)
        if not await self._says_something():
            reason = "it answers chats with nothing"
            self._watchdog.condemn(reason)
            raise EngineGone(reason)

    async def _says_something(self) -> bool:
        body: JsonObject = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        return not (await self._answered(chat_request(body, self._slot), lambda chunks: None)).empty

    @asynccontextmanager
    async def _turn(self, brief: bool) -> AsyncIterator[None]:
        async with self._npu.turn(brief):
            try:
                yield
            except EngineSilent as error:
                self._watchdog.condemn(str(error))
                raise EngineGone(str(error)) from error
            except EngineGone as error:
                if not self.gone:
                    self._watchdog.lost(str(error))
                raise
            except EngineError:
                self._watchdog.answered()
                raise
            else:
                self._watchdog.answered()

    async def _settle(self, cancelled: bool) -> None:
        """Until FLM has ended what its client may have left: a cancelled request is computed for a while."""
        try:
            async with asyncio.timeout(self._silence_s):
                await self._until_free(UNREAD_S if cancelled else 0.0)
        except (TimeoutError, EngineSilent):
            self._watchdog.condemn(f"it computes for more than {self._silence_s:g} s what nobody waits for")
        except EngineGone:
            # Whoever is next finds out why.
            return

    async def _until_free(self, unread_s: float) -> None:
        """`unread_s`: for it to begin before."""
        loop, poll_s = asyncio.get_running_loop(), FIRST_POLL_S
        until = loop.time() + unread_s
        while True:
            if not await self._client.is_free():
                until = 0.0
            elif loop.time() >= until:
                return
            await asyncio.sleep(poll_s)
            poll_s = min(poll_s * 1.5, SLOWEST_POLL_S)

    def _give_up(self, reason: str) -> None:
        self.gone = True
        self._npu.end(EngineGone(reason))
