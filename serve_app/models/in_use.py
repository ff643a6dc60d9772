"""Which slots of this node have an engine that may read a model's files."""

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Self

from serve_app.models.locks import take, turn

FOLDER = "models"


@dataclass(frozen=True, slots=True)
class Use:
    """A slot's engine, alive in some process, and the files or folders that it may read."""

    slot: str
    paths: tuple[Path, ...]

    def reads(self, path: Path) -> bool:
        return any(path == one or one in path.parents for one in self.paths)


class ModelUse:
    """Says that a slot uses `paths` while it is held; `run_dir` is HAL0_HOME/run.

    It is a small file under a lock of the kernel's: who is killed uses nothing any more.
    """

    def __init__(self, run_dir: Path, slot: str, paths: Iterable[Path]) -> None:
        self._folder, self._use = run_dir / FOLDER, Use(slot, tuple(paths))
        self._name = f"{slot}-{uuid.uuid4().hex[:12]}"
        self._lock: int | None = None

    def hold(self) -> None:
        """Raises `FileNotFoundError` if one of the paths has been removed by now: fetch again."""
        if self._lock is not None:
            return
        with still(self._folder.parent):
            for path in self._use.paths:
                path.stat()
            self._lock = take(self._file)
            self._file.write_text(json.dumps({"slot": self._use.slot, "paths": [*map(str, self._use.paths)]}))

    def release(self) -> None:
        if self._lock is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._name}.json"

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


@contextmanager
def still(run_dir: Path) -> Iterator[None]:
    """While this is held, no use begins: for who wants to remove what nobody uses."""
    with turn(run_dir / f"{FOLDER}.lock", Event()):
        yield


def uses(run_dir: Path) -> list[Use]:
    """Those that are held. What the dead have left is removed. Call it under `still` where it must stay true."""
    return [use for file in sorted((run_dir / FOLDER).glob("*.json")) if (use := _read(file)) is not None]


def _read(file: Path) -> Use | None:
    try:
        text = file.read_bytes()
        lock = take(file)
        if lock is not None:
            file.unlink(missing_ok=True)
            os.close(lock)
            return None
        value = json.loads(text)
        return Use(value["slot"], tuple(Path(path) for path in value["paths"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
