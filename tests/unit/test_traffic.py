"""What an ingress tells the board of its requests, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from serve_app import traffic as module
from serve_app.leases import LeasePool
from serve_app.news import Traffic
from serve_app.traffic import TrafficReporter

PATIENCE_S = 5.0
NONE = Traffic(0, 0, 0, None)


class Pool:
    def __init__(self) -> None:
        self.traffic = NONE


class Board:
    def __init__(self) -> None:
        self.told: list[dict[str, Traffic]] = []
        self.deaf = False

    async def hear(self, report: dict[str, Traffic]) -> None:
        self.told.append(dict(report))
        if self.deaf:
            raise RuntimeError("the board is being restarted")

    async def has_heard(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.told) < times:
                await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_S", 0.001)
    monkeypatch.setattr(module, "LOOK_S", 0.005)


@asynccontextmanager
async def reporting(board: Board, **pools: Pool) -> AsyncIterator[TrafficReporter]:
    reporter = TrafficReporter(board.hear)
    task = asyncio.create_task(reporter.run(cast(dict[str, LeasePool], pools)))
    try:
        yield reporter
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_everything_is_told_at_first_and_then_only_what_changes() -> None:
    board, chat, embed = Board(), Pool(), Pool()
    async with reporting(board, chat=chat, embed=embed):
        await board.has_heard(1)
        chat.traffic = Traffic(1, 0, 0, None)
        await board.has_heard(2)
        embed.traffic = Traffic(0, 2, 0, None, 5.0, 1)
        await board.has_heard(3)
    assert board.told == [{"chat": NONE, "embed": NONE}, {"chat": chat.traffic}, {"embed": embed.traffic}]


async def test_who_begins_to_wait_is_told_without_waiting_for_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 3600.0)
    board, chat = Board(), Pool()
    async with reporting(board, chat=chat) as reporter:
        reporter.wake()
        await board.has_heard(1)
        chat.traffic = Traffic(0, 1, 0, None)
        reporter.wake()
        await board.has_heard(2)
    assert board.told[-1] == {"chat": chat.traffic}


async def test_a_report_that_was_not_taken_is_made_again() -> None:
    board, chat = Board(), Pool()
    board.deaf = True
    async with reporting(board, chat=chat):
        await board.has_heard(2)
        board.deaf = False
        heard = len(board.told)
        await board.has_heard(heard + 1)
        chat.traffic = Traffic(1, 0, 0, None)
        await board.has_heard(heard + 2)
    assert board.told[heard + 1 :] == [{"chat": chat.traffic}]


async def test_all_is_told_again_for_a_board_that_was_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_ALL_S", 0.0)
    board = Board()
    async with reporting(board, chat=Pool()):
        await board.has_heard(3)
    assert board.told[2] == {"chat": NONE}


async def test_it_ends_when_it_is_cancelled_in_the_moment_of_waking() -> None:
    board, chat = Board(), Pool()
    async with reporting(board, chat=chat) as reporter:
        await board.has_heard(1)
        reporter.wake()


async def test_a_look_that_finds_nothing_new_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is after a report, so that reports are not too many."""
    board, chat = Board(), Pool()
    async with reporting(board, chat=chat) as reporter:
        await board.has_heard(1)
        await asyncio.sleep(0.01)
        monkeypatch.setattr(module, "TELL_S", 3600.0)
        reporter.wake()
        await asyncio.sleep(0.01)
        chat.traffic = Traffic(0, 1, 0, None)
        reporter.wake()
        await board.has_heard(2)
