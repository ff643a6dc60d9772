"""Records of models that `flm` was seen to verify.

The program counts a file that exists as whole, so that a pull that was killed may pass for one that ended. A record
tells which files a verified model had, and how large. It holds for one program in one state and one folder of models: a
program that was updated may want newer files.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from providers.base import Node
from providers.flm.command import PROGRAM, models_folder
from providers.flm.options import FlmSlot


class Record(BaseModel):
    """`files`: bytes by name; None while a pull is on its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    program: str
    files: Mapping[str, int] | None = None


class Records:
    """Those of one program and one folder of models."""

    def __init__(self, slot: FlmSlot, node: Node) -> None:
        self.models = models_folder(slot, node.base_env) / "models"
        self._slot, self._node = slot, node
        catalogue = slot.options.env.get("FLM_CONFIG_PATH") or node.base_env.get("FLM_CONFIG_PATH")
        self._base = node.cache_dir / "flm"
        self._folder = self._base / _key(str(self.models), self._program_name(), str(catalogue))

    def lock(self, tag: str) -> Path:
        """The same for all programs that keep models in this folder."""
        return self._base / f"{_key(str(self.models), tag)}.lock"

    def good(self, tag: str) -> Path | None:
        """The model's folder, if it was verified and nothing has changed since. Never raises."""
        record = self._read(tag)
        if record is None or record.files is None or record.program != self._program_state():
            return None
        folder = self.models / record.folder
        try:
            whole = all((folder / file).stat().st_size == size for file, size in record.files.items())
        except OSError:
            return None
        return folder if whole else None

    def unfinished(self, tag: str) -> Path | None:
        """The model's folder, if a pull of it began and was not seen to end."""
        record = self._read(tag)
        return self.models / record.folder if record is not None and record.files is None else None

    def begin(self, tag: str, folder: str) -> None:
        """What lies there may be a part from now on."""
        self._write(tag, Record(folder=folder, program=self._program_state()))

    def verified(self, tag: str, folder: str, files: Iterable[str]) -> None:
        """Raises `OSError` if a file is missing."""
        sizes = {file: (self.models / folder / file).stat().st_size for file in files}
        self._write(tag, Record(folder=folder, program=self._program_state(), files=sizes))

    def _read(self, tag: str) -> Record | None:
        try:
            return Record.model_validate_json(self._path(tag).read_bytes())
        except (OSError, ValidationError):
            return None

    def _write(self, tag: str, record: Record) -> None:
        path = self._path(tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.part")
        try:
            beside.write_text(record.model_dump_json())
            beside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def _path(self, tag: str) -> Path:
        return self._folder / f"{_key(tag)}.json"

    def _program_name(self) -> str:
        options = self._slot.options
        if options.container is not None:
            return f"{options.container.image} {options.container.program}"
        return options.binary or str(self._node.programs.get(PROGRAM, ""))

    def _program_state(self) -> str:
        """Another one after an update; that of an image is its name."""
        name = self._program_name()
        if self._slot.options.container is not None:
            return name
        found = shutil.which(name, path=self._node.base_env.get("PATH"))
        try:
            state = os.stat(found or name)
        except OSError:
            return "missing"
        return f"{state.st_size} {state.st_mtime_ns}"


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
