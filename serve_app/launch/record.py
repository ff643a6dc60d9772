"""What a running `hal0 up` has written down of itself, under HAL0_HOME/run/up: one file for each port."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serve_app.launch.processes import Process

MARK = "HAL0_UP"
"""The environment variable by which every process of one `up` is known; its value is the record's `mark`."""
FOLDER = "up"


@dataclass(frozen=True, slots=True)
class UpRecord:
    """`since` is in Unix seconds. `session` is the folder of the Ray that it has started, once there is one."""

    mark: str
    launcher: Process
    since: float
    port: int
    url: str
    config: str
    session: str | None = None

    @property
    def runs(self) -> bool:
        return self.launcher.alive


class RunFolder:
    """The records of one HAL0_HOME. `run_dir` is HAL0_HOME/run."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER

    def derived_config(self, port: int) -> Path:
        return self._folder / f"{port}.yaml"

    def records(self) -> list[UpRecord]:
        """By port. What is no record is passed over."""
        return sorted(self._read(), key=lambda record: record.port)

    def at(self, port: int) -> UpRecord | None:
        return next((record for record in self._read() if record.port == port), None)

    def claim(self, record: UpRecord) -> bool:
        """Write down a new one; False if another `up` was faster."""
        draft = self._draft(record)
        try:
            os.link(draft, self._file(record.port))
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def note_session(self, record: UpRecord, session: str | None) -> UpRecord:
        """The record with the session, as it is written now."""
        noted = replace(record, session=session)
        self._draft(noted).replace(self._file(record.port))
        return noted

    def forget(self, record: UpRecord) -> None:
        """Also its derived configuration. Only its own: the port may be another one's by now."""
        if (there := self.at(record.port)) is None or there.mark == record.mark:
            self._file(record.port).unlink(missing_ok=True)
            self.derived_config(record.port).unlink(missing_ok=True)

    def _file(self, port: int) -> Path:
        return self._folder / f"{port}.json"

    def _draft(self, record: UpRecord) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{record.port}.{record.mark}.draft"
        draft.write_text(json.dumps(asdict(record)))
        return draft

    def _read(self) -> Iterator[UpRecord]:
        for file in self._folder.glob("*.json"):
            try:
                yield _parsed(json.loads(file.read_text()))
            except (OSError, ValueError, TypeError, KeyError):
                continue


def _parsed(raw: Any) -> UpRecord:
    return UpRecord(**{**raw, "launcher": Process(**raw["launcher"])})
