"""The argv and the environment of `flm` commands, on the node or in a container. Pure."""

from collections.abc import Mapping
from pathlib import Path

from providers.base import Command, Node, Placement
from providers.capabilities import Capability
from providers.container import contained, engine_name
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
QUEUED, CONNECTIONS = 10, 16
"""Of the process. The slot's front has one request there at a time, but one that a client left may still have its turn;
what exceeds the connections is dropped without a word, so there are more of them than places to wait."""


def serve_command(slot: FlmSlot, placement: Placement) -> Command:
    """The slot's engine. Raises `ProviderError` if there is no flm."""
    return program_command(
        slot, node_of(placement), serve_arguments(slot, placement), engine_name(slot.name, placement)
    )


def node_of(placement: Placement) -> Node:
    return Node(placement.programs, placement.base_env, placement.cache_dir)


def serve_arguments(slot: FlmSlot, placement: Placement) -> tuple[str, ...]:
    """Long names: those of one dash are taken apart, `-pcl` as `-p cl`. No token among them, since flm knows none."""
    options = slot.options
    return (
        "serve",
        # A tag of another kind than chat would have flm load a chat model that nobody named.
        *((slot.model,) if slot.offers(Capability.CHAT) else ()),
        *("--host", placement.host, "--port", str(placement.port), "--cors", "0"),
        *("--ctx-len", str(slot.context_size)),
        *(
            "--asr",
            _switch(slot.offers(Capability.TRANSCRIPTION)),
            "--embed",
            _switch(slot.offers(Capability.EMBEDDING)),
        ),
        *("--socket", str(CONNECTIONS), "--q-len", str(QUEUED)),
        *("--pmode", options.power_mode, "--preemption", _switch(options.preemption)),
        *_given("--prefill-chunk-len", options.prefill_chunk),
        *_given("--img-pre-resize", options.image_resize),
        *options.extra_args,
    )


def _switch(on: bool) -> str:
    return "1" if on else "0"


def _given(flag: str, value: int | None) -> tuple[str, ...]:
    return () if value is None else (flag, str(value))


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
    """The folder with flm's `models/` in it. `~` is the HOME of `base_env`."""
    home = Path(base_env.get("HOME", "/"))
    named = slot.options.env.get(FOLDER_VARIABLE) or base_env.get(FOLDER_VARIABLE)
    if not named:
        return home / DEFAULT_FOLDER
    return home / named.removeprefix("~/") if named.startswith("~/") else Path(named)


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
