"""Reports in order, and never in anyone's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_app.mailbox import Mailbox


@asynccontextmanager
async def mailbox(board: "Board") -> AsyncIterator[Mailbox[int]]:
    box = Mailbox(board.hear)
    try:
        yield box
    finally:
        board.open.set()
        await box.close()


class Board:
    def __init__(self) -> None:
        self.heard: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def hear(self, item: int) -> None:
        await self.open.wait()
        if item < 0:
            raise RuntimeError("it is being restarted")
        self.heard.append(item)


async def test_items_arrive_in_order() -> None:
    board = Board()
    async with mailbox(board) as box:
        for item in range(5):
            box.post(item)
        assert board.heard == [], "to post does not wait"
        await box.flush()
        assert board.heard == [0, 1, 2, 3, 4]


async def test_an_item_that_is_not_taken_holds_nothing_up() -> None:
    board = Board()
    async with mailbox(board) as box:
        for item in (1, -1, 2):
            box.post(item)
        await box.flush()
    assert board.heard == [1, 2]


async def test_closing_sends_what_waits() -> None:
    board = Board()
    box = Mailbox(board.hear)
    box.post(1)
    await box.close()
    assert board.heard == [1]


async def test_closing_does_not_wait_for_ever() -> None:
    board = Board()
    board.open.clear()
    box = Mailbox(board.hear)
    box.post(1)
    await box.close(timeout_s=0.01)
    assert board.heard == []
