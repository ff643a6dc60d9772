"""A client's form on its way to this machine, in bounded memory and bounded time."""

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.datastructures import Headers
from starlette.types import Receive

from serve_app.audio.form import FILE_FIELDS, FormReader, boundary_of
from serve_app.audio.threads import in_thread
from serve_app.errors import BadRequest
from serve_app.http_io import UPLOAD_TIMEOUT_S, body_chunks, refuse_declared, too_slow

IN_MEMORY = 2**20
"""Bytes; a longer file goes to the disk."""
WRITTEN_AT_ONCE = 2**18


@dataclass(frozen=True, slots=True)
class UploadLimits:
    max_bytes: int = 2**30
    """Of the whole form."""
    timeout_s: float = UPLOAD_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Form:
    file: IO[bytes]
    """At its beginning. It has no name on the disk."""
    fields: Sequence[tuple[str, str]]
    file_field: str = FILE_FIELDS[0]


@asynccontextmanager
async def uploaded(
    headers: Headers, receive: Receive, limits: UploadLimits, file_fields: Sequence[str] = FILE_FIELDS
) -> AsyncIterator[Form]:
    """The form; its file is gone afterwards, whatever happens. `file_fields`: what the file's field may be called.

    Raises 413 as soon as the form is known to be too large, 408 when it takes too long, 415 and 400 for what is none,
    507 for a full disk, and `ClientGone`.
    """
    refuse_declared(headers, limits.max_bytes)
    reader = FormReader(boundary_of(headers.get("content-type", ""), file_fields[0]), file_fields)
    with SpooledTemporaryFile(IN_MEMORY) as file:
        try:
            async with asyncio.timeout(limits.timeout_s):
                await _fill(file, reader, receive, limits.max_bytes)
        except TimeoutError as error:
            raise too_slow(limits.timeout_s) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise BadRequest(507, "The server's disk has no room for the file.", "no_disk_space") from error
        file.seek(0)
        yield Form(file, reader.fields, reader.file_field or file_fields[0])


async def _fill(file: SpooledTemporaryFile[bytes], reader: FormReader, receive: Receive, limit: int) -> None:
    waiting = bytearray()
    async with aclosing(body_chunks(receive, limit)) as chunks:
        async for chunk in chunks:
            waiting += reader.feed(chunk)
            if len(waiting) >= WRITTEN_AT_ONCE:
                await _write(file, bytes(waiting))
                waiting.clear()
    if waiting:
        await _write(file, bytes(waiting))
    reader.finish()


async def _write(file: SpooledTemporaryFile[bytes], data: bytes) -> None:
    """Beside the event loop once the disk is meant, which may be slow."""
    if file.tell() + len(data) <= IN_MEMORY:
        file.write(data)
    else:
        await in_thread(partial(file.write, data))
