"""A container that an engine may run in. Pure."""

from collections.abc import Iterable
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
}


class Container(Frozen):
    """Run the engine in a container, for people who use toolbox images."""

    image: str = Field(min_length=1)
    runtime: Literal["podman", "docker"] = "podman"
    program: str | None = Field(
        default=None, min_length=1, description="what runs in it; default llama-server, or python3 for native engines"
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
    """`command` begins with the program. Variables are named without their values, so that no secret shows in the list
    of processes."""
    name = f"hal0-{slot}-{placement.port}".replace(":", "-")
    program, *arguments = command
    folders = sorted({str(_self_contained(path)) for path in (model.main, *model.companions.values())})
    return Command(
        argv=(
            *(container.runtime, "run", "--rm", "--name", name, "--network", "host"),
            *DEVICE_ARGUMENTS[placement.device],
            *(part for folder in folders for part in ("--volume", f"{folder}:{folder}:ro")),
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
