"""The board's events as an ingress hears them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serve_app import feed as module
from serve_app.events import Batch
from serve_app.feed import WAIT_S, Feed, View

PATIENCE_S = 5.0


class Board:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, float]] = []
        self.answers: asyncio.Queue[Batch | Exception] = asyncio.Queue()

    async def events_after(self, cursor: str | None, wait_s: float) -> Batch:
        self.asked.append((cursor, wait_s))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(self, cursor: str, *events: View) -> None:
        self.answers.put_nowait(Batch(cursor, events))

    async def asked_times(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.asked) < times:
                await asyncio.sleep(0)


@asynccontextmanager
async def running(board: Board, heard: list[View]) -> AsyncIterator[Feed]:
    feed = Feed(board.events_after, heard.append)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_every_event_is_handed_on_and_the_last_one_of_each_slot_is_kept() -> None:
    board, heard = Board(), list[View]()
    first = {"name": "chat", "state": "starting"}
    second = {"name": "chat", "state": "ready"}
    other = {"name": "embed", "state": "offline"}
    async with running(board, heard) as feed:
        assert feed.view("chat") == {"name": "chat", "state": "offline"}
        board.tell("b-2", first, other)
        board.tell("b-3", second)
        await board.asked_times(3)
        assert heard == [first, other, second]
        assert (feed.view("chat"), feed.view("embed")) == (second, other)
    assert board.asked == [(None, WAIT_S), ("b-2", WAIT_S), ("b-3", WAIT_S)]


async def test_a_board_that_does_not_answer_is_asked_again_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    board, heard = Board(), list[View]()
    async with running(board, heard):
        board.tell("b-1", {"name": "chat", "state": "starting"})
        board.answers.put_nowait(RuntimeError("it is being restarted"))
        board.tell("c-7", {"name": "chat", "state": "ready"})
        await board.asked_times(4)
    assert [cursor for cursor, _ in board.asked] == [None, "b-1", "b-1", "c-7"]
    assert [event["state"] for event in heard] == ["starting", "ready"]
