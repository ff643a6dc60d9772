"""One piece of work done again and again by some clients at once, and what it took."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from benchmarks.load import LoadError
from providers.spec import Frozen

Work = Callable[[], str]
"""Hears one file; what was said in it."""


class Effort(Frozen):
    """Each client repeats its work for `seconds`, but `least` times in any case."""

    clients: int = 1
    seconds: float = 0.0
    least: int = 1


class Runs(Frozen):
    """`seconds` from the first beginning to the last end."""

    times_s: tuple[float, ...]
    seconds: float
    text: str


def repeat(client: Callable[[], AbstractContextManager[Work]], effort: Effort) -> Runs:
    """Raises `LoadError` unless every answer is the same."""
    began = time.perf_counter()

    def serve() -> list[tuple[float, str]]:
        done: list[tuple[float, str]] = []
        with client() as work:
            while len(done) < effort.least or time.perf_counter() - began < effort.seconds:
                begins = time.perf_counter()
                text = work()
                done.append((time.perf_counter() - begins, text))
        return done

    with ThreadPoolExecutor(effort.clients) as pool:
        clients = [pool.submit(serve) for _ in range(effort.clients)]
        results = [result for one in clients for result in one.result()]
    seconds = time.perf_counter() - began
    texts = {text for _, text in results}
    if len(texts) != 1:
        raise LoadError(f"the same file is heard in {len(texts)} ways: {sorted(texts)[:2]}")
    return Runs(times_s=tuple(took_s for took_s, _ in results), seconds=seconds, text=texts.pop())
