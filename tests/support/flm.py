"""The emulated `flm` as a process: a command that ends, or a server that runs."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import eventually, free_port

FOLDER = Path(__file__).parents[1] / "emulators" / "flm" / "bin"
READY_S = 60.0
END_S = 30.0
ANSI = re.compile(r"\033\[[0-9;?]*[A-Za-z]")


def environment(home: Path, **more: str) -> dict[str, str]:
    """To start it in, with its folder first on PATH. `home` is where its models are."""
    return os.environ | {
        "PATH": f"{FOLDER}{os.pathsep}{os.environ['PATH']}",
        "FLM_MODEL_PATH": str(home),
        "FLM_EMULATOR_PYTHON": sys.executable,
        "FLM_EMULATOR_LOAD_S": "0",
        "FLM_EMULATOR_PACE": "0.05",
        **more,
    }


def flm(home: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """One command to its end. `more` is environment."""
    command = ["flm", *arguments]
    # Not universal newlines: what is written over on one line is told from what ends it by the carriage returns.
    done = subprocess.run(command, env=environment(home, **more), capture_output=True, timeout=END_S)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Serving:
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return ANSI.sub("", self.log.read_text(errors="replace"))

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + READY_S
        while text not in (said := self.output):
            assert time.monotonic() < deadline, f"flm did not say {text!r}, but:\n{said}"
            time.sleep(0.02)

    def wait_until_ready(self) -> None:
        """By an answer: it accepts connections before it can."""

        def answers() -> bool:
            assert self.process.poll() is None, f"flm ended with {self.process.returncode}:\n{self.output}"
            try:
                with urllib.request.urlopen(f"{self.url}/api/version", timeout=READY_S) as response:
                    return bool(response.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        eventually("flm answers", answers, READY_S, 0.05)


@contextmanager
def starting(home: Path, *arguments: str, port: int | None = None, **more: str) -> Iterator[Serving]:
    """`flm serve`, whether it comes up or not; killed at the end, if it is still there."""
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"flm-{time.monotonic_ns()}.log"
    command = ["flm", "serve", *arguments, "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment(home, **more), stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Serving(process, port, log)
    finally:
        process.kill()
        process.wait(END_S)


@contextmanager
def serving(home: Path, *arguments: str, port: int | None = None, **more: str) -> Iterator[Serving]:
    """`flm serve` that answers."""
    with starting(home, *arguments, port=port, **more) as server:
        server.wait_until_ready()
        yield server
