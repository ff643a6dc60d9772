"""What Ray and Serve print: kept in HAL0_HOME/logs/serve.log, which is bounded and begins anew with every start."""

import logging
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE = "serve.log"
FILE_BYTES = 16 * 1024 * 1024
KEPT_FILES = 3
LAST_LINES = 30


class ServeLog:
    """The file, and the last lines of it. Earlier starts are `serve.log.1` and so on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._handler = RotatingFileHandler(self.path, maxBytes=FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
        if self.path.stat().st_size:
            self._handler.doRollover()
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    def add(self, line: str) -> None:
        self._last.append(line)
        self._handler.emit(logging.makeLogRecord({"msg": line}))

    @property
    def last_lines(self) -> tuple[str, ...]:
        return tuple(self._last)

    def close(self) -> None:
        self._handler.close()
