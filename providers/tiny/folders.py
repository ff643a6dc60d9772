"""Model folders whose files appear under their names only when they are whole."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from providers.tiny.publish import publish

RECORD = "made-from.json"
"""What a folder was made from, and the digests of what came of it."""


@contextmanager
def model_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well, its files are in `folder` under the same names.

    A file there with the same bytes is left as it is, any other is replaced in one step. Raises `OSError` if the
    folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield draft
        for part in _files(draft):
            publish(part, folder / part.relative_to(draft))
    finally:
        shutil.rmtree(draft)


@contextmanager
def recorded_folder(folder: Path, source: str) -> Iterator[Path]:
    """The same for files whose bytes are others each time they are made; `is_made` then tells whether to make them.

    `source` is a digest of what they are made from.
    """
    with model_folder(folder) as draft:
        yield draft
        files = {str(path.relative_to(draft)): _digest(path) for path in _files(draft)}
        (draft / RECORD).write_text(json.dumps({"source": source, "files": files}, indent=1))


def is_made(folder: Path, source: str) -> bool:
    """Whether `recorded_folder` made all files that are there, from the same source."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return bool(
            record["source"] == source and all(_digest(folder / name) == seen for name, seen in record["files"].items())
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
