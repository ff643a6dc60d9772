"""A look at a pull that is on its way."""

import time
from pathlib import Path

from providers.flm import unavailable
from providers.flm.pull_meter import PullMeter
from providers.flm.pull_output import PullOutput

STALLED_S = 600.0
"""A pull that brings nothing for so long will not. The program itself gives a file an hour."""


class PullWatch:
    """Tells how far it is, and raises `ModelUnavailable` where it will not end well."""

    def __init__(self, tag: str, output: PullOutput, models: Path, meter: PullMeter) -> None:
        self._tag, self._output, self._models, self._meter = tag, output, models, meter
        self._there: int | None = None
        self._seen: tuple[str, int] | None = None
        self._moved = time.monotonic()

    def look(self) -> None:
        if self._there is None and self._output.file:
            self._there = self._measured()
        self._meter.pulling(self._tag, self._output, self._there or 0)
        seen = (self._output.file, self._output.bytes_done)
        if seen != self._seen:
            self._seen, self._moved = seen, time.monotonic()
        elif time.monotonic() - self._moved > STALLED_S:
            raise unavailable.stalled(self._tag, STALLED_S)

    def _measured(self) -> int:
        """Bytes of files that the pull does not bring; first, whether there is room for those that it does."""
        folder = self._models / self._output.folder
        parts = sum(_size(folder / file) for file in self._output.files)
        unavailable.require_room(self._tag, folder, (self._output.bytes_total or 0) - parts)
        return bytes_in(folder) - parts


def bytes_in(folder: Path) -> int:
    """Of its files; 0 if it cannot be read."""
    try:
        return sum(map(_size, folder.iterdir()))
    except OSError:
        return 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0
