"""Ends of the program, from whichever thread."""

import os
import resource
from typing import NoReturn

from tests.emulators.flm.console import complain


def end(code: int) -> NoReturn:
    """All that was printed has been flushed."""
    os._exit(code)


def crash(last_words: str) -> NoReturn:
    """SIGABRT, without a core file left behind."""
    complain(last_words)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()
