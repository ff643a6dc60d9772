"""What the commands of `hal0` share."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

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


class Resources(click.ParamType[dict[str, float]]):
    """Amounts of Ray's resources by name, as JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        try:
            given = value if isinstance(value, dict) else json.loads(value)
            return {str(name): float(amount) for name, amount in given.items()}
        except (ValueError, AttributeError, TypeError):
            example = '{"vulkan": 1}'
            self.fail(f"{value!r} is not allowed; allowed: a JSON object such as {example}", param, ctx)


RESOURCES = Resources()
