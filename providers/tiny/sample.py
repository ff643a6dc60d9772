"""A file of speech for the tiny models that hear, to try them with."""

import tempfile
import wave
from pathlib import Path

from providers.tiny.publish import publish
from providers.tiny.tones import SAMPLE_RATE, tones

SAID = ("golf", "alpha", "hotel", "echo")


def make_sample(path: Path) -> None:
    """A WAV file, 16 kHz, mono, that says `SAID`. Raises `OSError` if the folder cannot be written."""
    samples = tones(SAID, before_s=0.5, after_s=0.5)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder, path.name)
        with wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        publish(part, path)
