"""A pull's progress for people: one line that moves on a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable

import click

from providers.pulling import PullProgress
from serve_app.models.sizes import shown_bytes

PLAIN_EVERY_S = 5.0
WIDTH = 24


class Bar:
    def __init__(self, slot: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot, self._clock = slot, clock
        self._terminal = sys.stdout.isatty()
        self._told = float("-inf")
        self._length = 0

    def show(self, progress: PullProgress) -> None:
        if self._terminal:
            line = f"{self._slot:16} {_drawn(progress)} {told(progress)}  {progress.file}"
            self._overwrite(line[: shutil.get_terminal_size().columns - 1])
        elif self._clock() - self._told >= PLAIN_EVERY_S:
            self._told = self._clock()
            click.echo(f"{self._slot}: {told(progress)}  {progress.file}")

    def end(self, line: str) -> None:
        """The last word on this slot."""
        if self._terminal:
            self._overwrite("")
        click.echo(f"{self._slot}: {line}")

    def _overwrite(self, line: str) -> None:
        click.echo("\r" + line.ljust(self._length) + ("" if line else "\r"), nl=False)
        self._length = len(line)


def told(progress: PullProgress) -> str:
    """Such as `41% of 2.0 GiB, 35.1 MiB/s, 0:34 left`; what is not known is left out."""
    done, total = progress.bytes_done, progress.bytes_total
    words = [shown_bytes(done) if not total else f"{100 * done // total}% of {shown_bytes(total)}"]
    if progress.bytes_per_second is not None:
        words.append(f"{shown_bytes(progress.bytes_per_second)}/s")
    if progress.eta_seconds is not None:
        minutes, seconds = divmod(round(progress.eta_seconds), 60)
        words.append(f"{minutes}:{seconds:02} left")
    return ", ".join(words)


def _drawn(progress: PullProgress) -> str:
    if not progress.bytes_total:
        return f"[{'?' * WIDTH}]"
    filled = min(WIDTH, WIDTH * progress.bytes_done // progress.bytes_total)
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}]"
