"""F5-TTS in a process of its own, run by any Python, and clients of it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.f5.options import F5Slot
from providers.f5.provider import F5Tts
from providers.health import HEALTH_PATH
from providers.tts.messages import SpeechRequest
from providers.tts.paths import SPEECH_PATH
from providers.tts.synthesizer import Manner, Reference, Samples
from tests.support.server import eventually, free_port

ROOT = Path(__file__).parents[2]
VARIABLE = "HAL0_TEST_F5_VENV"
TOKEN = "s3cret"
RATE = 24_000
LOAD_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
PROVIDER = F5Tts()


def python_with_f5() -> str:
    """Skips the test where there is none."""
    venv = Path(os.environ.get(VARIABLE) or ROOT / ".venv-f5")
    python = venv / "bin/python"
    if not python.exists():
        pytest.skip(f"no F5-TTS in {venv}: scripts/f5-venv makes that, and {VARIABLE} names another")
    return str(python)


def slot(requests: int = 2, **options: object) -> F5Slot:
    given = {"name": "clone", "provider": "f5-tts", "model": "m", "capabilities": ["speech"]}
    return F5Slot.model_validate(given | {"parallel_requests": requests, "options": options})


def model(folder: Path) -> ModelFiles:
    return ModelFiles(folder, {"vocoder": folder / "vocos"})


def voice(seconds: float = 3.0, frequency: float = 220.0, loudness: float = 0.2, rate: int = RATE) -> Samples:
    """About as uneven as speech."""
    times = np.arange(round(seconds * rate)) / rate
    sound = loudness * np.sin(2 * np.pi * frequency * times) * (0.7 + 0.3 * np.sin(20 * times))
    samples: Samples = sound.astype(np.float32)
    return samples


def told(sound: Samples | None = None, text: str = "This is the reference text.", rate: int = RATE) -> Reference:
    samples = voice(rate=rate) if sound is None else sound
    return Reference((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), rate, text)


class Child:
    def __init__(self, process: "subprocess.Popen[bytes]", http: httpx.Client, log: Path) -> None:
        self.process, self.http, self.log = process, http, log

    def health(self) -> httpx.Response | None:
        try:
            return self.http.get(HEALTH_PATH)
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return None

    def has_settled(self) -> bool:
        found = self.health()
        return found is not None and found.status_code != 503

    def ask(self, text: str, reference: Reference | None = None, speed: float = 1.0) -> httpx.Response:
        manner = Manner(reference=reference or told(), speed=speed)
        return self.http.post(SPEECH_PATH, content=SpeechRequest.of(text, manner).model_dump_json())

    def speak(self, text: str, reference: Reference | None = None, speed: float = 1.0) -> Samples:
        answer = self.ask(text, reference, speed)
        assert answer.status_code == 200, answer.text
        samples: Samples = np.frombuffer(answer.content, "<i2").astype(np.float32)
        return samples

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    @property
    def files(self) -> set[str]:
        folder = Path(f"/proc/{self.process.pid}/fd")
        return {os.readlink(one) for one in folder.iterdir() if one.is_symlink()}


@contextmanager
def child(
    python: str, files: ModelFiles, folder: Path, given: F5Slot | None = None, threads: int = 2
) -> Iterator[Child]:
    """Once its load has ended, well or not. Stopped as a slot stops its engine, which it survives by no process."""
    port, log = free_port(), folder / "child.log"
    where = Placement(
        Device.CPU, "127.0.0.1", port, TOKEN, folder, cpu_threads=threads, base_env={"PATH": os.environ["PATH"]}
    )
    own = (given or slot()).model_copy(
        update={"options": (given or slot()).options.model_copy(update={"python": python})}
    )
    argv, env = PROVIDER.start_cmd(own, files, where).argv, PROVIDER.build_env(own, files, where)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        log.open("wb") as out,
        subprocess.Popen(argv, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False) as http,
    ):
        try:
            made = Child(process, http, log)
            eventually("the load ends", made.has_settled, LOAD_TIMEOUT_S)
            yield made
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def run(python: str, *arguments: str) -> str:
    """What it prints."""
    done = subprocess.run([python, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
