"""How a native engine runs as a child process: its argv and its environment. Pure."""

import sys

from providers.base import Command, ModelFiles, Placement
from providers.container import in_container
from providers.native.options import NativeOptions
from providers.spec import SlotSpec

MODULE = "providers.native.child"
TOKEN_VARIABLE = "HAL0_ENGINE_TOKEN"
DEFAULT_PROGRAM = "python3"


def native_environment(options: NativeOptions, placement: Placement) -> dict[str, str]:
    return dict(placement.base_env) | own_environment(options, placement)


def own_environment(options: NativeOptions, placement: Placement) -> dict[str, str]:
    return {TOKEN_VARIABLE: placement.token, "HF_HUB_OFFLINE": "1"} | dict(options.env)


def native_command(slot: SlotSpec, options: NativeOptions, model: ModelFiles, placement: Placement) -> Command:
    """Everybody can read an argv: the token is in the environment."""
    arguments = (
        *("-m", MODULE, "--model", str(model.main)),
        *(part for role, path in sorted(model.companions.items()) for part in ("--companion", f"{role}={path}")),
        *("--host", placement.host, "--port", str(placement.port), "--device", placement.device.value),
        *("--threads", str(placement.cpu_threads), "--cache-dir", str(placement.cache_dir)),
        *("--slot", _inner(slot, options).model_dump_json(exclude_defaults=True)),
    )
    if options.container is not None:
        program = options.container.program or DEFAULT_PROGRAM
        names = tuple(own_environment(options, placement))
        return in_container(options.container, slot.name, model, placement, (program, *arguments), names)
    return Command((options.python or sys.executable, *arguments))


def _inner(slot: SlotSpec, options: NativeOptions) -> SlotSpec:
    """The slot as its process sees it: there the engine is not a child any more."""
    outside: dict[str, object] = {"own_process": False, "python": None, "container": None, "env": {}}
    return slot.model_copy(update={"options": options.model_copy(update=outside)})
