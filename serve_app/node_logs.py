"""What engines have written, on whichever node: this one's files, or another's by a Ray task that runs there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_app.log_tail import follow, newest_log, tail
from serve_app.settings import load_settings

REACH_S = 20.0
"""For a task on another node to begin: a process has to start there."""
UNREACHABLE = b"hal0: the node %b of the slot's last engine does not answer, and its log lies there.\n"


class NodeLogs:
    """`folder` is where engines of this node write."""

    def __init__(self, node: str, folder: Path) -> None:
        self._node, self._folder = node, folder

    def chunks(self, slot: str, node: str | None, lines: int, follows: bool) -> AsyncIterator[bytes]:
        """The last lines of a slot's engine on `node` (None: nobody knows where it was), and if wished what follows."""
        if node is None or node == self._node:
            return follow(self._folder, slot, lines) if follows else self._once(slot, lines)
        return _from(node, slot, lines, follows)

    async def _once(self, slot: str, lines: int) -> AsyncIterator[bytes]:
        yield tail(newest_log(self._folder, slot), lines)


async def _from(node: str, slot: str, lines: int, follows: bool) -> AsyncIterator[bytes]:
    reading = _reading.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
        slot, lines, follows
    )
    try:
        limit_s: float | None = REACH_S
        while True:
            async with asyncio.timeout(limit_s):
                chunk: bytes = await (await anext(reading))
            limit_s = None
            yield chunk
    except StopAsyncIteration:
        return
    except (TimeoutError, ray.exceptions.RayError):
        yield UNREACHABLE % node[:8].encode()
    finally:
        ray.cancel(reading)


def _read_here(slot: str, lines: int, follows: bool) -> Iterator[bytes]:
    folder = load_settings().logs_dir
    if not follows:
        yield tail(newest_log(folder, slot), lines)
        return
    loop = asyncio.new_event_loop()
    chunks = follow(folder, slot, lines)
    try:
        while True:
            yield loop.run_until_complete(anext(chunks))
    finally:
        loop.run_until_complete(chunks.aclose())
        loop.close()


_reading: Any = ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")(_read_here)
