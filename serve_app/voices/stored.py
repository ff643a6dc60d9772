"""One stored voice: a folder named by its id, with the sound and what is known of it. Folders appear and go whole."""

import os
from pathlib import Path

from pydantic import Field, ValidationError

from providers.spec import Frozen
from serve_app.voices.names import is_id
from serve_app.voices.sample import SAMPLE_BYTES, SAMPLE_RATE, BrokenSound, Sample, pcm_of, wav_of

ABOUT, SOUND = "voice.json", "reference.wav"
WAV_HEADER = len(wav_of(b""))


class BrokenVoice(Exception):
    """A folder that is no whole voice: the store never leaves one, but disks and people do."""


class StoredVoice(Frozen):
    """`created_at` in Unix seconds."""

    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    transcript: str = Field(min_length=1)
    created_at: int = Field(ge=0)
    duration_s: float = Field(gt=0)


def write(folder: Path, voice: StoredVoice, sample: Sample) -> None:
    """Into a folder that exists; all of it is on the disk afterwards."""
    _write(folder / SOUND, wav_of(sample.pcm))
    _write(folder / ABOUT, voice.model_dump_json().encode())
    sync(folder)


def read(folder: Path) -> StoredVoice | None:
    """Reads no sound, but looks whether all of it is there. None: the voice has been removed. Raises `BrokenVoice`."""
    try:
        about, size = (folder / ABOUT).read_bytes(), (folder / SOUND).stat().st_size
        voice = StoredVoice.model_validate_json(about)
    except OSError as error:
        if not folder.exists():
            return None
        raise BrokenVoice(f"{error}") from error
    except ValidationError as error:
        raise BrokenVoice(f"{ABOUT} is none of ours ({error.error_count()} mistakes)") from error
    if voice.id != folder.name:
        raise BrokenVoice(f"{ABOUT} is of another voice")
    if size != WAV_HEADER + round(voice.duration_s * SAMPLE_RATE) * SAMPLE_BYTES:
        raise BrokenVoice(f"{SOUND} is not as long as it was")
    return voice


def read_sound(folder: Path) -> bytes | None:
    """Samples as `Sample.pcm` has them. None: the voice has been removed. Raises `BrokenVoice`."""
    try:
        return pcm_of((folder / SOUND).read_bytes())
    except OSError as error:
        if not folder.exists():
            return None
        raise BrokenVoice(f"{error}") from error
    except BrokenSound as error:
        raise BrokenVoice(f"{SOUND} is broken: {error}") from error


def folders(root: Path) -> list[Path]:
    """Of the voices under a store's folder, which need not exist."""
    try:
        return sorted(path for path in root.iterdir() if is_id(path.name))
    except FileNotFoundError:
        return []


def sync(folder: Path) -> None:
    """What was created in the folder, renamed or removed, is so after a loss of power, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
