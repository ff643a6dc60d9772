"""Runs `tests.support.bare_engine` as a child process, where a crash of the engine harms no test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_ROOT = Path(__file__).parents[2]
_STOP_TIMEOUT_S = 10


@contextmanager
def running_engine(model: Path, *options: str) -> Iterator[httpx.Client]:
    """A client of a llama.cpp server that has loaded `model`, on a free port. Fails with its output if it cannot."""
    command = [sys.executable, "-m", "tests.support.bare_engine", "--model", str(model), "--port", "0", *options]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), f"the engine ended with {process.wait(_STOP_TIMEOUT_S)}"
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                # Stopped before its loop has run, this engine may never end; one task through its queue shows it has.
                client.post("/tokenize", json={"content": "ready"}).raise_for_status()
                yield client
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
