"""Reading what an engine has written, from its rotating file on this machine."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

BLOCK = 64 * 1024
POLL_S = 0.25


def newest_log(folder: Path, slot: str) -> Path | None:
    """The file of the replica that wrote last; None before any has."""
    files = [file for file in folder.glob(f"{slot}-*.log") if file.stem.removeprefix(f"{slot}-").isdecimal()]
    return max(files, key=lambda file: file.stat().st_mtime, default=None)


def tail(file: Path | None, lines: int) -> bytes:
    """The last lines, whole."""
    if file is None or lines == 0:
        return b""
    with file.open("rb") as log:
        end = log.seek(0, os.SEEK_END)
        kept = b""
        while end > 0 and kept.count(b"\n") <= lines:
            start = max(0, end - BLOCK)
            log.seek(start)
            kept = log.read(end - start) + kept
            end = start
    return b"".join(kept.splitlines(keepends=True)[-lines:])


async def follow(folder: Path, slot: str, lines: int) -> AsyncIterator[bytes]:
    """The last lines, and then what comes, for ever. A file that is rotated away or succeeded is read to its end."""
    file = newest_log(folder, slot)
    yield tail(file, lines)
    log = None if file is None else file.open("rb")
    try:
        if log is not None:
            log.seek(0, os.SEEK_END)
        while True:
            if log is not None and (chunk := log.read(BLOCK)):
                yield chunk
                continue
            newest = newest_log(folder, slot)
            if newest is not None and (log is None or newest.stat().st_ino != os.fstat(log.fileno()).st_ino):
                if log is not None:
                    log.close()
                log = newest.open("rb")
                continue
            await asyncio.sleep(POLL_S)
    finally:
        if log is not None:
            log.close()
