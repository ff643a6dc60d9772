"""Files of /sys and /proc, any of which may be missing or not for us to read."""

from collections.abc import Iterator
from pathlib import Path


def text(path: Path) -> str:
    """Empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """Decimal, or hexadecimal behind `0x`; None if there is none."""
    try:
        return int(text(path), 0)
    except ValueError:
        return None


def entries(folder: Path, pattern: str) -> Iterator[Path]:
    """Sorted by name: numbered ones by their number."""
    try:
        found = list(folder.glob(pattern))
    except OSError:
        found = []
    yield from sorted(found, key=lambda path: (len(path.name), path.name))
