"""What an engine wrote: whole lines, bounded, with secrets masked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.engine_log import LAST_LINES, LINE_LIMIT, RECENT_CHARACTERS, EngineLog, log_file

SECRET = "s3cret-token"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EngineLog]:
    opened = EngineLog(tmp_path / "logs/chat-0.log", (SECRET, ""))
    yield opened
    opened.close()


def written(tmp_path: Path) -> str:
    return (tmp_path / "logs/chat-0.log").read_text()


def test_lines_go_to_memory_and_to_the_file(log: EngineLog, tmp_path: Path) -> None:
    log.feed(b"one\ntwo  \n\nthree\n")
    assert log.tail() == ("one", "two", "three")
    assert log.tail(2) == ("two", "three")
    assert written(tmp_path) == "one\ntwo\nthree\n"


def test_a_partial_line_waits_for_its_end(log: EngineLog) -> None:
    log.feed(b"on")
    assert log.tail() == ()
    log.feed(b"e\nt")
    assert log.tail() == ("one",)
    log.close()
    assert log.tail() == ("one", "t")


def test_progress_lines_are_lines(log: EngineLog) -> None:
    log.feed(b"10%\r20%\r\n30%\r")
    assert log.tail() == ("10%", "20%", "30%")


@pytest.mark.parametrize("cut", range(len(SECRET) + 1))
def test_a_secret_is_masked_however_it_is_cut(log: EngineLog, tmp_path: Path, cut: int) -> None:
    line = f"key={SECRET}.\n".encode()
    log.feed(line[: cut + 4])
    log.feed(line[cut + 4 :])
    assert log.tail() == ("key=[masked].",)
    assert written(tmp_path) == "key=[masked].\n"


@pytest.mark.parametrize("before", [LINE_LIMIT - 5, LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 5, 2 * LINE_LIMIT])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_secret_in_an_overlong_line_is_masked(log: EngineLog, tmp_path: Path, before: int, step: int) -> None:
    line = b"x" * before + SECRET.encode() + b"y" * LINE_LIMIT + b"\n"
    for start in range(0, len(line), step):
        log.feed(line[start : start + step])
    for shown in ("".join(log.tail(LAST_LINES)), written(tmp_path)):
        assert all(part not in shown for part in (SECRET, SECRET[:4], SECRET[-4:]))


def test_it_is_bounded(log: EngineLog) -> None:
    for _ in range(10):
        log.feed(b"x" * LINE_LIMIT)
    log.feed(b"\n" + b"line\n" * 1000)
    assert len(log.tail(10_000)) == LAST_LINES
    assert max(map(len, log.tail(LAST_LINES))) <= LINE_LIMIT


def test_recent_output_has_the_unfinished_line(log: EngineLog) -> None:
    assert log.recent() == ""
    log.feed(b"loading\n..")
    assert log.recent() == "loading\n.."
    log.feed(b"..")
    assert log.recent() == "loading\n...."
    log.feed(b"\ndone\n")
    assert log.recent() == "loading\n....\ndone\n"


@pytest.mark.parametrize("cut", range(len(SECRET) + 1))
def test_recent_output_has_no_part_of_a_secret(log: EngineLog, cut: int) -> None:
    log.feed(f"key={SECRET[:cut]}".encode())
    assert log.recent() == ("key=[masked]" if cut == len(SECRET) else "key=")
    log.feed(f"{SECRET[cut:]}.".encode())
    assert log.recent() == "key=[masked]."


def test_what_only_looks_like_a_secret_is_not_kept_back_for_ever(log: EngineLog) -> None:
    log.feed(b"key=s3c")
    log.feed(b"ond")
    assert log.recent() == "key=s3cond"


@pytest.mark.parametrize("size", [1, 100, LINE_LIMIT, 10 * LINE_LIMIT])
def test_recent_output_is_bounded_and_begins_with_a_whole_line(log: EngineLog, size: int) -> None:
    for number in range(2 * LAST_LINES):
        log.feed(f"<{number}".encode() + b"x" * size + b"\n")
    log.feed(b"y" * size)
    assert 0 < len(log.recent()) <= RECENT_CHARACTERS
    assert log.recent().startswith("<") or size > LINE_LIMIT
    assert log.recent().endswith("y")


def test_what_is_no_text_is_kept_readable(log: EngineLog) -> None:
    log.feed(b"caf\xc3\xa9 \xff\n")
    assert log.tail() == ("café \ufffd",)


def test_the_reason_is_the_first_error(log: EngineLog) -> None:
    assert log.reason() == "it wrote nothing"
    log.feed(b"hello\nbye\n")
    assert log.reason() == "its last line was: bye"
    log.feed(b"Unable to open m.gguf\nError: load failed\nend\n")
    assert log.reason() == "Unable to open m.gguf"


def test_the_file_of_a_slot_stays_in_its_folder() -> None:
    assert log_file(Path("/logs"), "a/b", 1) == Path("/logs/a_b-1.log")
