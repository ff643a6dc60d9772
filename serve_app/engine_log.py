"""What an engine wrote: its last lines in memory, all of it in a rotating file, secrets masked."""

import logging
import os
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

LAST_LINES = 200
LINE_LIMIT = 2000
RECENT_CHARACTERS = 16 * 1024
FILE_BYTES = 4 * 1024 * 1024
MASK = b"[masked]"
ERROR_SIGNS = ("error", "failed", "cannot", "couldn't", "invalid", "unable")


class EngineLog:
    """Collects bytes as they come; `tail` answers whole lines, `recent` an unfinished one, too."""

    def __init__(self, file: Path, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = [secret.encode() for secret in secrets if secret]
        self._longest_secret = max(map(len, self._secrets), default=0)
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._partial = b""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=1, delay=True, encoding="utf-8")

    def feed(self, data: bytes) -> None:
        *lines, self._partial = self._masked(self._partial + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._partial) > LINE_LIMIT + self._longest_secret:
            # Its end may be the beginning of a secret.
            cut = len(self._partial) - self._longest_secret
            lines, self._partial = [*lines, self._partial[:cut]], self._partial[cut:]
        self._add(lines)

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, MASK)
        return data

    def _add(self, lines: list[bytes]) -> None:
        """All of them at once: an engine that is asked often writes thousands of lines a second."""
        texts = [text for line in lines if (text := line[:LINE_LIMIT].decode("utf-8", "replace").rstrip())]
        if texts:
            self._lines.extend(texts)
            self._file.emit(logging.LogRecord("engine", logging.INFO, "", 0, "\n".join(texts), None, None))

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        return tuple(self._lines)[-lines:]

    def recent(self) -> str:
        """The last lines, at most 16,384 characters, the unfinished one at the end as far as it is written. The
        beginning of a secret waits for the rest."""
        lines = [self._without_begun_secret(self._partial)[:LINE_LIMIT].decode("utf-8", "replace")]
        room = RECENT_CHARACTERS - len(lines[0])
        for line in reversed(self._lines):
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
        return "\n".join(reversed(lines))

    def _without_begun_secret(self, data: bytes) -> bytes:
        begun = (
            size
            for secret in self._secrets
            for size in range(min(len(secret), len(data)), 0, -1)
            if data.endswith(secret[:size])
        )
        return data[: len(data) - max(begun, default=0)]

    def reason(self) -> str:
        """The first line that speaks of an error: what follows it mostly says that there was one."""
        for line in self._lines:
            if any(sign in line.lower() for sign in ERROR_SIGNS):
                return line
        return f"its last line was: {self._lines[-1]}" if self._lines else "it wrote nothing"

    def close(self) -> None:
        if self._partial:
            self._add([self._partial])
            self._partial = b""
        self._file.close()


def log_file(folder: Path, slot: str, rank: int) -> Path:
    return folder / f"{slot.replace(os.sep, '_')}-{rank}.log"
