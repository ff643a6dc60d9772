"""Programs that this process would find on PATH."""

import shutil
from pathlib import Path
from typing import Any

from providers.base import Provider


def which(name: str) -> Path | None:
    found = shutil.which(name)
    return None if found is None else Path(found)


def programs_on_path(provider: Provider[Any]) -> dict[str, Path]:
    """Those of the provider's programs that are there."""
    return {name: path for name in provider.programs if (path := which(name)) is not None}
