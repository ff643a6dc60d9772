"""All voices that clients have stored on this machine.

    voices/
      .lock              held by whoever changes anything; the kernel drops it when its holder dies
      .new-voice_<id>/   being written; renamed when it is whole
      .gone-voice_<id>/  being removed
      voice_<id>/        a voice

Several processes may use the folder at once. Readers take no lock: a voice is there whole, or not at all. What a killed
process leaves is not listed, and cleared away by the next that holds the lock.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from providers.tts.synthesizer import Reference
from serve_app.audio.threads import in_thread
from serve_app.errors import BadRequest
from serve_app.models.locks import take
from serve_app.voices.names import checked_name, is_id, key, new_id, shown
from serve_app.voices.sample import SAMPLE_RATE, Sample
from serve_app.voices.stored import BrokenVoice, StoredVoice, folders, read, read_sound, sync, write

logger = logging.getLogger("hal0.voices")

MOST_VOICES = 100
LOCK_WAIT_S = 10.0
"""What is done under the lock takes a small part of a second."""
LOCK_POLL_S = 0.01
NEW, GONE = ".new-", ".gone-"


class VoiceStore:
    """Thread-safe. Methods that are no coroutines block, as disks do."""

    def __init__(self, folder: Path, most: int = MOST_VOICES) -> None:
        self._folder, self._most = folder, most
        self._told_broken: set[Path] = set()

    def tidy(self) -> None:
        """Clear away what killed processes left: once, at the start. A folder that cannot be written is no error."""
        try:
            with self._turn():
                self._clear_leftovers()
        except (OSError, BadRequest) as error:
            logger.warning("the folder of stored voices cannot be tidied: %s", error)

    def list(self) -> tuple[StoredVoice, ...]:
        """The oldest first. Broken ones are passed over, with a line in the log."""
        found = [voice for folder in folders(self._folder) if (voice := self._read(folder))]
        return tuple(sorted(found, key=lambda voice: (voice.created_at, voice.id)))

    def find(self, name: str) -> StoredVoice | None:
        """By id, or by name in whatever case."""
        if is_id(name):
            return self._read(self._folder / name)
        wanted = key(name.strip())
        return next((voice for voice in self.list() if key(voice.name) == wanted), None)

    async def reference(self, name: str) -> Reference | None:
        """What an engine needs to speak as the voice does; None: there is no such voice."""
        return await in_thread(partial(self._reference, name))

    def refuse(self, name: str) -> None:
        """Raises 400 if a voice of this name cannot be added, as far as that shows before it is."""
        self._refuse(checked_name(name))

    def add(self, name: str, sample: Sample) -> StoredVoice:
        """Raises 400 for a name that is none or is taken (`voice_exists`), or too many voices (`too_many_voices`); 507
        for a full disk."""
        name = checked_name(name)
        try:
            with self._turn():
                self._clear_leftovers()
                self._refuse(name)
                return self._write(name, sample)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise BadRequest(507, "The server's disk has no room for the voice.", "no_disk_space") from error

    def remove(self, name: str) -> StoredVoice | None:
        """The voice that is gone now, found as `find` does."""
        with self._turn():
            voice = self.find(name)
            if voice is None:
                return None
            folder = self._folder / voice.id
            self._rename(folder, folder.with_name(GONE + voice.id))
            self._clear_leftovers()
            return voice

    def _reference(self, name: str) -> Reference | None:
        voice = self.find(name)
        if voice is None:
            return None
        folder = self._folder / voice.id
        try:
            pcm = read_sound(folder)
        except BrokenVoice as error:
            self._tell_broken(folder, error)
            return None
        return None if pcm is None else Reference(pcm, SAMPLE_RATE, voice.transcript)

    def _refuse(self, name: str) -> None:
        voices = self.list()
        if any(key(voice.name) == key(name) for voice in voices):
            message = f"There is a voice '{shown(name)}' already; delete it, or take another name."
            # Not 409: openai's clients take that for a passing conflict and try again.
            raise BadRequest(400, message, "voice_exists", "name")
        if len(voices) >= self._most:
            message = f"{len(voices)} voices are stored, which is as many as may be; delete one."
            raise BadRequest(400, message, "too_many_voices")

    def _write(self, name: str, sample: Sample) -> StoredVoice:
        voice = StoredVoice(
            id=new_id(),
            name=name,
            transcript=sample.transcript,
            created_at=int(time.time()),
            duration_s=sample.duration_s,
        )
        new = self._folder / f"{NEW}{voice.id}"
        try:
            new.mkdir(mode=0o700)
            write(new, voice, sample)
            self._rename(new, self._folder / voice.id)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return voice

    def _rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)
        sync(self._folder)

    def _clear_leftovers(self) -> None:
        """Under the lock nobody writes, so that nobody's work is among them."""
        for path in self._folder.iterdir():
            if path.name.startswith((NEW, GONE)):
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Raises 503 if another process does not come to its end, such as one that is stopped."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_WAIT_S
        while (descriptor := take(self._folder / ".lock")) is None:
            if time.monotonic() > deadline:
                raise BadRequest(503, "The folder of stored voices is in use by another process.", "voices_busy")
            time.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            os.close(descriptor)

    def _read(self, folder: Path) -> StoredVoice | None:
        try:
            return read(folder)
        except BrokenVoice as error:
            self._tell_broken(folder, error)
            return None

    def _tell_broken(self, folder: Path, error: BrokenVoice) -> None:
        """Once: voices are listed often."""
        if folder not in self._told_broken:
            self._told_broken.add(folder)
            logger.warning("the stored voice %s is passed over: %s", folder.name, error)
