"""Lines as `flm` prints them: `[HEADER]  text`, flushed one by one."""

import sys
from enum import IntEnum


class Colour(IntEnum):
    RED = 31
    GREEN = 32


def say(header: str, text: str, colour: Colour | None = None) -> None:
    """One line on stdout; a red one on stderr. Coloured lines carry ANSI codes, on a terminal or not."""
    line = f"[{header}]  {text}"
    if colour is not None:
        line = f"\033[{colour.value}m{line}\033[0m"
    write(line + "\n", errors=colour is Colour.RED)


def complain(text: str) -> None:
    write(text + "\n", errors=True)


def write(text: str, errors: bool = False) -> None:
    stream = sys.stderr if errors else sys.stdout
    stream.write(text)
    stream.flush()
