"""The embedded llama.cpp engine, but slow to load: a program for `options.binary`."""

import sys
from pathlib import Path

SCRIPT = """#!/bin/sh
sleep {seconds}
exec {python} -m providers.llamacpp.embedded "$@"
"""


def slow_engine(folder: Path, seconds: float) -> Path:
    """An executable that waits so long before it starts the real engine."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"slow-{seconds}"
    program.write_text(SCRIPT.format(seconds=seconds, python=sys.executable))
    program.chmod(0o755)
    return program
