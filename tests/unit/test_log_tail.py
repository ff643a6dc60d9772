"""Reading an engine's log: its end, and what comes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app import log_tail
from serve_app.engine_log import EngineLog, log_file
from serve_app.log_tail import follow, newest_log, tail

PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tail, "POLL_S", 0.001)
    monkeypatch.setattr(log_tail, "BLOCK", 16)


def write(folder: Path, name: str, content: bytes, at: int | None = None) -> Path:
    file = folder / name
    with file.open("ab") as log:
        log.write(content)
    if at is not None:
        os.utime(file, (at, at))
    return file


async def read(chunks: AsyncIterator[bytes], size: int) -> bytes:
    """So many bytes of what follows, and no more."""
    found = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < size:
            found += await anext(chunks)
    return found


# The end of a file.


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=12),
    wanted=st.integers(0, 15),
    unfinished=st.booleans(),
    block=st.sampled_from([1, 2, 7, 16, 64, 65536]),
)
def test_the_last_lines_are_whole_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], wanted: int, unfinished: bool, block: int
) -> None:
    content = b"\n".join(lines) + (b"" if unfinished else b"\n")
    file = write(tmp_path_factory.mktemp("logs"), "chat-0.log", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_tail, "BLOCK", block)
        expected = content.splitlines(keepends=True)
        assert tail(file, wanted) == b"".join(expected[max(0, len(expected) - wanted) :])


def test_nothing_is_the_end_of_nothing(tmp_path: Path) -> None:
    assert tail(None, 10) == b""
    assert tail(write(tmp_path, "chat-0.log", b""), 10) == b""
    assert tail(tmp_path / "rotated-away.log", 10) == b""
    assert newest_log(tmp_path / "no-such-folder", "chat") is None


def test_the_newest_file_is_that_of_the_replica_that_wrote_last(tmp_path: Path) -> None:
    write(tmp_path, "chat-0.log", b"a", at=100)
    second = write(tmp_path, "chat-1.log", b"b", at=200)
    assert newest_log(tmp_path, "chat") == second
    first = write(tmp_path, "chat-0.log", b"c", at=300)
    assert newest_log(tmp_path, "chat") == first


def test_other_slots_and_rotated_files_are_not_taken_for_its_own(tmp_path: Path) -> None:
    for at, name in enumerate(["chat-2-0.log", "chat-0.log.1", "chat-x.log", "chat.log", "xchat-0.log"], start=200):
        write(tmp_path, name, b"a", at=at)
    assert newest_log(tmp_path, "chat") is None
    own = write(tmp_path, "chat-0.log", b"a", at=100)
    assert newest_log(tmp_path, "chat") == own
    assert newest_log(tmp_path, "chat-2") == tmp_path / "chat-2-0.log"


def test_it_finds_what_an_engines_log_writes(tmp_path: Path) -> None:
    log = EngineLog(log_file(tmp_path, "my.slot:1", 3))
    log.feed(b"one\ntwo\n")
    log.close()
    assert tail(newest_log(tmp_path, "my.slot:1"), 1) == b"two\n"


# What comes.


async def test_the_last_lines_come_first_and_then_all_that_is_written(tmp_path: Path) -> None:
    write(tmp_path, "chat-0.log", b"one\ntwo\n")
    async with aclosing(follow(tmp_path, "chat", 1)) as chunks:
        assert await anext(chunks) == b"two\n"
        write(tmp_path, "chat-0.log", b"three\n")
        assert await read(chunks, 6) == b"three\n"
        long = b"a line that is longer than a block\n"
        write(tmp_path, "chat-0.log", long)
        assert await read(chunks, len(long)) == long


async def test_what_is_written_while_the_client_is_slow_to_take_the_end_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path, "chat-0.log", b"one\n")
    async with aclosing(follow(tmp_path, "chat", 10)) as chunks:
        assert await anext(chunks) == b"one\n"
        write(tmp_path, "chat-0.log", b"two\n")  # before it is asked for more
        assert await read(chunks, 4) == b"two\n"


async def test_without_last_lines_only_what_is_new_comes(tmp_path: Path) -> None:
    write(tmp_path, "chat-0.log", b"one\n")
    async with aclosing(follow(tmp_path, "chat", 0)) as chunks:
        assert await anext(chunks) == b""
        write(tmp_path, "chat-0.log", b"two\n")
        assert await read(chunks, 4) == b"two\n"


async def test_a_log_may_begin_after_its_follower(tmp_path: Path) -> None:
    async with aclosing(follow(tmp_path / "logs", "chat", 10)) as chunks:
        assert await anext(chunks) == b""
        (tmp_path / "logs").mkdir()
        write(tmp_path / "logs", "chat-0.log", b"one\n")
        assert await read(chunks, 4) == b"one\n"


async def test_a_file_that_is_rotated_away_is_read_to_its_end(tmp_path: Path) -> None:
    file = write(tmp_path, "chat-0.log", b"one\n")
    async with aclosing(follow(tmp_path, "chat", 1)) as chunks:
        assert await anext(chunks) == b"one\n"
        for number in range(3):
            write(tmp_path, "chat-0.log", b"end%d\n" % number)
            file.rename(tmp_path / "chat-0.log.1")
            write(tmp_path, "chat-0.log", b"new%d\n" % number)
            assert await read(chunks, 10) == b"end%d\nnew%d\n" % (number, number)


async def test_replicas_that_write_in_turn_are_all_followed_and_nothing_comes_twice(tmp_path: Path) -> None:
    write(tmp_path, "chat-0.log", b"old of the first\n", at=100)
    write(tmp_path, "chat-1.log", b"old of the second\n", at=200)
    async with aclosing(follow(tmp_path, "chat", 1)) as chunks:
        assert await anext(chunks) == b"old of the second\n"
        for number in range(3):
            for replica in (0, 1, 0, 2):
                line = b"%d from %d\n" % (number, replica)
                write(tmp_path, f"chat-{replica}.log", line)
                assert await read(chunks, len(line)) == line
