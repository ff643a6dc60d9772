"""What this machine has that Ray does not find by itself."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from providers.base import Node, Provider
from providers.devices import DECLARED_BY
from providers.registry import PROVIDERS
from serve_app.settings import engine_base_env, load_settings


def programs_on_path(provider: Provider[Any]) -> dict[str, Path]:
    """Those of the provider's programs that this process would find."""
    return {name: Path(path) for name in provider.programs if (path := shutil.which(name))}


def this_node(provider: Provider[Any]) -> Node:
    return Node(programs_on_path(provider), engine_base_env(), load_settings().cache_dir)


def found_resources() -> Mapping[str, float]:
    """One unit of the resource that declares each device which some provider's programs find here."""
    found = {device for provider in PROVIDERS.values() for device in provider.devices_of(programs_on_path(provider))}
    return {DECLARED_BY[device]: 1.0 for device in found if device in DECLARED_BY}
