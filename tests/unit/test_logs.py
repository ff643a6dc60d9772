"""Structured logs: every line is one JSON object, whatever is logged."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.logs import READY_LINES, log_to


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    logger = logging.getLogger("hal0")
    before = (logger.handlers, logger.level, logger.propagate)
    log_to(tmp_path / "logs", "ingress-0")
    yield tmp_path / "logs" / "ingress-0.jsonl"
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.level, logger.propagate = before


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_fields_stand_beside_the_message(file: Path) -> None:
    logging.getLogger("hal0.access").info("request", extra={"fields": {"status": 200, "path": "/a\nb"}})
    [line] = lines(file)
    assert (line["message"], line["status"], line["path"], line["level"]) == ("request", 200, "/a\nb", "info")


def test_lines_that_are_ready_are_left_alone(file: Path) -> None:
    logging.getLogger("hal0.access").info("", extra={READY_LINES: '{"a": 1}\n{"b": 2}'})
    assert lines(file) == [{"a": 1}, {"b": 2}]


def test_an_exception_is_one_line_too(file: Path) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("hal0.edge").exception("request failed")
    [line] = lines(file)
    assert "ValueError: broken" in str(line["exception"])


def test_warnings_go_to_stderr_and_the_rest_does_not(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("hal0.board").info("quiet")
    assert capsys.readouterr().err == ""
    assert len(lines(file)) == 1
