"""A container that an engine may run in. Pure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from providers.base import Command, ModelFiles, Placement
from providers.devices import Device
from providers.spec import Frozen

DEVICE_ARGUMENTS: dict[Device, tuple[str, ...]] = {
    Device.CPU: (),
    Device.VULKAN: ("--device", "/dev/dri"),
    Device.ROCM: ("--device", "/dev/kfd", "--device", "/dev/dri", "--security-opt", "label=disable"),
    Device.CUDA: ("--device", "nvidia.com/gpu=all"),
    Device.NPU: (
        *("--device", "/dev/accel/accel0", "--security-opt", "label=disable"),
        # Its driver keeps whole models in memory that must not be swapped out.
        *("--ulimit", "memlock=-1:-1"),
    ),
}
RENDER_GROUP: Mapping[str, tuple[str, ...]] = {"podman": ("--group-add", "keep-groups"), "docker": ()}
"""By runtime: what lets a user who is not root use an NPU's device. Docker's containers run as root."""


class Container(Frozen):
    """Run the engine in a container, for people who use toolbox images."""

    image: str = Field(min_length=1)
    runtime: Literal["podman", "docker"] = "podman"
    program: str | None = Field(
        default=None,
        min_length=1,
        description="what runs in it; default llama-server, vllm, flm, or python3 for native engines",
    )
    extra_args: tuple[str, ...] = ()


def in_container(
    container: Container,
    slot: str,
    model: ModelFiles,
    placement: Placement,
    command: tuple[str, ...],
    env_names: Iterable[str],
) -> Command:
    """An engine that reads its slot's model."""
    folders = {_self_contained(path) for path in (model.main, *model.companions.values())}
    name = engine_name(slot, placement)
    return contained(container, name, placement.device, command, env_names, readable=folders)


def engine_name(slot: str, placement: Placement) -> str:
    """What the container of a slot's engine is called: no other on its node is."""
    return f"hal0-{slot}-{placement.port}"


def contained(
    container: Container,
    name: str,
    device: Device,
    command: tuple[str, ...],
    env_names: Iterable[str],
    *,
    readable: Iterable[Path] = (),
    writable: Iterable[Path] = (),
) -> Command:
    """`command` begins with the program. Variables are named without their values, so that no secret shows in the list
    of processes. Folders are where they are outside."""
    name = name.replace(":", "-")
    program, *arguments = command
    volumes = (*(f"{folder}:{folder}:ro" for folder in sorted(readable)), *(f"{one}:{one}" for one in sorted(writable)))
    return Command(
        argv=(
            *(container.runtime, "run", "--rm", "--name", name, "--network", "host"),
            *DEVICE_ARGUMENTS[device],
            *(RENDER_GROUP[container.runtime] if device is Device.NPU else ()),
            *(part for volume in volumes for part in ("--volume", volume)),
            *(part for variable in env_names for part in ("--env", variable)),
            *container.extra_args,
            *("--entrypoint", container.program or program, container.image),
            *arguments,
        ),
        cleanup=(container.runtime, "rm", "--force", "--ignore", name)
        if container.runtime == "podman"
        else (container.runtime, "rm", "--force", name),
    )


def _self_contained(path: Path) -> Path:
    """The folder that holds a file and what it links to: the Hub's cache links `snapshots/` to `blobs/` beside it."""
    snapshots = (folder for folder in (path, *path.parents) if folder.name == "snapshots")
    return next((folder.parent for folder in snapshots), path.parent)
