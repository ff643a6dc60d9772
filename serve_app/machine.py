"""What this machine has that Ray does not find by itself."""

from collections.abc import Mapping
from typing import Any

from providers.base import Node, Provider
from serve_app.hardware.declaration import declare
from serve_app.hardware.programs import programs_on_path
from serve_app.hardware.survey import survey
from serve_app.settings import engine_base_env, load_settings


def this_node(provider: Provider[Any]) -> Node:
    return Node(programs_on_path(provider), engine_base_env(), load_settings().cache_dir)


def found_resources() -> Mapping[str, float]:
    """The custom resources of this machine's Ray node. Asks the programs on PATH, so it may take seconds."""
    return declare(survey()).resources
