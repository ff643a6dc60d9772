"""A file that has come only in part, and what is known of the whole."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = ".json"


@dataclass(frozen=True, slots=True)
class Record:
    """`validator` is what `If-Range` takes: it tells whether the rest still belongs to the beginning."""

    source: str
    size: int | None = None
    validator: str | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """`path` has the bytes, a JSON file beside it the record."""

    path: Path

    @property
    def record_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}{RECORD}")

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def record(self) -> Record | None:
        try:
            return Record(**json.loads(self.record_path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write_record(self, record: Record) -> None:
        if record == self.record():
            return
        new = self.record_path.with_name(f"{self.record_path.name}.new")
        new.write_text(json.dumps(asdict(record)), encoding="utf-8")
        os.replace(new, self.record_path)

    def become(self, target: Path) -> None:
        """The file is whole: give it its name."""
        os.replace(self.path, target)
        self.record_path.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.record_path.unlink(missing_ok=True)
