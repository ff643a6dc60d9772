"""The argv and the environment of `flm` commands, on the node or in a container. Pure."""

from collections.abc import Mapping
from pathlib import Path

from providers.base import Command, Node
from providers.container import contained
from providers.devices import Device
from providers.errors import ProviderError
from providers.flm.options import FlmSlot

PROGRAM = "flm"
FOLDER_VARIABLE = "FLM_MODEL_PATH"
DEFAULT_FOLDER = Path(".config", "flm")
"""In HOME."""
RELEASES = "https://github.com/ROCm/FastFlowLM/releases"
WITHOUT_MODELS = frozenset({"validate", "version"})
"""Commands that look at no model, so that a container needs no folder of them, which may not be there yet."""


def program_command(slot: FlmSlot, node: Node, arguments: tuple[str, ...], name: str) -> Command:
    """One `flm` command, `arguments` beginning with its word. `name` is its container's, if the slot has one. Raises
    `ProviderError` if there is no flm."""
    container = slot.options.container
    if container is None:
        return Command((_program(slot, node), *arguments))
    folders = () if arguments[0] in WITHOUT_MODELS else (models_folder(slot, node.base_env),)
    variables = tuple(_own_environment(slot, node))
    return contained(container, name, Device.NPU, (PROGRAM, *arguments), variables, writable=folders)


def program_environment(slot: FlmSlot, node: Node) -> dict[str, str]:
    return dict(node.base_env) | _own_environment(slot, node)


def models_folder(slot: FlmSlot, base_env: Mapping[str, str]) -> Path:
    """The folder with flm's `models/` in it."""
    if named := slot.options.env.get(FOLDER_VARIABLE) or base_env.get(FOLDER_VARIABLE):
        return Path(named)
    return Path(base_env.get("HOME", "/")) / DEFAULT_FOLDER


def _own_environment(slot: FlmSlot, node: Node) -> dict[str, str]:
    """What this slot adds to the node's own environment. The folder is always told: HOME is another in a container."""
    folder = str(models_folder(slot, node.base_env))
    return {"FLM_DISABLE_UPDATE_CHECK": "1"} | dict(slot.options.env) | {FOLDER_VARIABLE: folder}


def _program(slot: FlmSlot, node: Node) -> str:
    if slot.options.binary is not None:
        return slot.options.binary
    if (found := node.programs.get(PROGRAM)) is not None:
        return str(found)
    raise ProviderError(
        f"FastFlowLM is not installed here: no '{PROGRAM}' is on PATH. Install it ({RELEASES}), or name one in "
        "options.binary, or an image that has it in options.container."
    )
