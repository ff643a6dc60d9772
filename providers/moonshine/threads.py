"""How many threads Moonshine's library computes with.

It offers a choice of two (measured with 0.1.5): pools as large as the machine has cores, for each of a model's files,
whatever the CPUs that the process may use; or, by an environment variable, no thread but the caller's. So a slot that
has the whole machine gets one model that uses all of it, and a slot that has less gets a model for each of its threads,
as far as its requests need them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SINGLE_VARIABLE = "MOONSHINE_ORT_SINGLE_THREAD"


@dataclass(frozen=True, slots=True)
class Sharing:
    """`models` are loaded side by side; each recognizes one piece at a time, on its caller's thread if `single`."""

    models: int
    single: bool


def shared(threads: int, requests: int) -> Sharing:
    if threads > 1 and threads >= (os.cpu_count() or 1):
        return Sharing(1, False)
    return Sharing(min(threads, requests), True)


@contextmanager
def loading(sharing: Sharing) -> Iterator[None]:
    """What the library loads meanwhile computes as `sharing` says. The process's environment is changed meanwhile."""
    before = os.environ.get(SINGLE_VARIABLE)
    os.environ[SINGLE_VARIABLE] = "1" if sharing.single else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SINGLE_VARIABLE]
        else:
            os.environ[SINGLE_VARIABLE] = before
