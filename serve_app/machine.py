"""What this machine has that Ray does not find by itself."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from providers.base import Provider
from providers.devices import DECLARED_BY
from providers.registry import PROVIDERS


def programs_on_path(provider: Provider[Any]) -> dict[str, Path]:
    """Those of the provider's programs that this process would find."""
    return {name: Path(path) for name in provider.programs if (path := shutil.which(name))}


def found_resources() -> Mapping[str, float]:
    """One unit of the resource that declares each device which some provider's programs find here."""
    found = {device for provider in PROVIDERS.values() for device in provider.devices_of(programs_on_path(provider))}
    return {DECLARED_BY[device]: 1.0 for device in found if device in DECLARED_BY}
