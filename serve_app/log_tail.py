"""Reading what a slot's engines have written, from their rotating files on this machine."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
POLL_S = 0.25


def newest_log(folder: Path, slot: str) -> Path | None:
    """The file of the replica that wrote last; None before any has."""
    return next(reversed(_logs(folder, slot)), None)


def tail(file: Path | None, lines: int) -> bytes:
    """The last lines, whole."""
    if file is None:
        return b""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as log:
        return _last_lines(log, lines)
    return b""  # it has been rotated away in this moment


async def follow(folder: Path, slot: str, lines: int) -> AsyncGenerator[bytes, None]:
    """The last lines of the newest file, and then what comes from any replica, for ever. A file that is rotated away is
    read to its end."""
    opened: dict[Path, BinaryIO] = {}
    try:
        last = b""
        for file in _logs(folder, slot):
            if (log := _open(file, opened)) is not None:
                last = _last_lines(log, lines)
        yield last
        while True:
            told = False
            for file, inode in _logs(folder, slot).items():
                if (log := opened.get(file) or _open(file, opened)) is None:
                    continue
                while chunk := log.read(BLOCK):
                    told = True
                    yield chunk
                if os.fstat(log.fileno()).st_ino != inode:
                    opened.pop(file).close()
                    told = True
            if not told:
                await asyncio.sleep(POLL_S)
    finally:
        for log in opened.values():
            log.close()


def _logs(folder: Path, slot: str) -> dict[Path, int]:
    """The files of the slot's replicas and their inodes; the one that was written last comes last."""
    found: list[tuple[int, Path, int]] = []
    for file in folder.glob(f"{slot}-*.log"):
        if file.stem.removeprefix(f"{slot}-").isdecimal():
            with contextlib.suppress(FileNotFoundError):  # it is being rotated
                status = file.stat()
                found.append((status.st_mtime_ns, file, status.st_ino))
    return {file: inode for _, file, inode in sorted(found)}


def _open(file: Path, opened: dict[Path, BinaryIO]) -> BinaryIO | None:
    with contextlib.suppress(FileNotFoundError):
        opened[file] = file.open("rb")
    return opened.get(file)


def _last_lines(log: BinaryIO, lines: int) -> bytes:
    """Leaves the file where they end."""
    end = start = log.seek(0, os.SEEK_END)
    kept = b""
    while start > 0 and kept.count(b"\n") <= lines:
        before = max(0, start - BLOCK)
        log.seek(before)
        kept = log.read(start - before) + kept
        start = before
    log.seek(end)
    return b"".join(kept.splitlines(keepends=True)[-lines:]) if lines else b""
