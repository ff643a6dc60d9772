"""Whether somebody else of this machine listens on the same port, which an ingress that is replaced waits for.

Serve starts as many new ingresses as there are old ones, and stops an old one for each that runs, whichever node it is
on: an old one may be told to stop while the new one of its own node is still on its way.
Format: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Of this process's network namespace."""
LISTENING = "0A"
LOCAL_ADDRESS, STATE, INODE = 1, 3, 9
"""Columns."""
LOOK_S = 0.25


async def until_another_listens(own: socket.socket, patience_s: float) -> None:
    """Or for so long: where there are to be fewer ingresses, none comes."""
    port, inode = own.getsockname()[1], os.fstat(own.fileno()).st_ino
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not await asyncio.to_thread(_listens, port, inode):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(LOOK_S)


def _listens(port: int, besides: int) -> bool:
    return any(listeners(_rows(table), port) - {besides} for table in TABLES)


def listeners(rows: Iterable[str], port: int) -> set[int]:
    """Inodes of the sockets that listen on `port`, as a table of the kernel's has them."""
    columns = (row.split() for row in rows)
    suffix = f":{port:04X}"
    return {int(one[INODE]) for one in columns if one[STATE] == LISTENING and one[LOCAL_ADDRESS].endswith(suffix)}


def _rows(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()[1:]
    except OSError:
        return []  # a machine without IPv6
