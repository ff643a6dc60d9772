"""What the commands of `hal0` share."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click

DEFAULT_CONFIG = Path("configs/hal0.yaml")
WRONG_USE = 2
NOT_RUNNING = 3
"""As `systemctl status` has it."""


def refuse(problems: Iterable[str]) -> NoReturn:
    """End the command; the user has to mend something."""
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    sys.exit(WRONG_USE)
