"""Structured logs: one JSON object a line, in a rotating file under HAL0_HOME/logs; warnings go to stderr, too."""

import json
import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE_BYTES = 16 * 1024 * 1024
KEPT_FILES = 3
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
FIELDS = "fields"
"""The name of the `extra` that holds a record's own keys."""
READY_LINES = "ready_lines"
"""The name of the `extra` that holds lines which are as they shall be."""


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ready: str | None = getattr(record, READY_LINES, None)
        if ready is not None:
            return ready
        line = {
            "time": self.formatTime(record, TIME_FORMAT),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to(folder: Path, name: str) -> None:
    """Send everything below the logger `hal0` of this process to `folder/name.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = RotatingFileHandler(
        folder / f"{name}.jsonl", maxBytes=FILE_BYTES, backupCount=KEPT_FILES, delay=True, encoding="utf-8"
    )
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    logger = logging.getLogger("hal0")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [file, warnings]
    for handler in logger.handlers:
        handler.setFormatter(JsonFormatter())
