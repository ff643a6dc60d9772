"""The config.json of each model, on a part of which every command of `flm` fails."""

import json
import time
from pathlib import Path

NEW_S = 10.0
"""Since its last change."""


def is_broken(file: Path) -> bool:
    """Whether it is there and no JSON."""
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError):
        return True
    return False


def is_new(file: Path) -> bool:
    """Whether it may be one that is being written."""
    try:
        return abs(time.time() - file.stat().st_mtime) < NEW_S
    except OSError:
        return True


def unreadable(models: Path) -> list[Path]:
    """Configurations of models that are no JSON, whoever left them."""
    try:
        return [file for file in sorted(models.glob("*/config.json")) if is_broken(file)]
    except OSError:
        return []
