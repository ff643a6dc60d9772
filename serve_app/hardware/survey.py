"""All that is looked at on one machine."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from providers.devices import Device
from providers.registry import PROVIDERS
from serve_app.hardware.gpu import Gpu, Maker, gpus
from serve_app.hardware.npu import Npu, npus
from serve_app.hardware.nvidia import PROGRAM, memory_by_address
from serve_app.hardware.programs import programs_on_path, which
from serve_app.hardware.rocm import ComputeNode, compute_nodes
from serve_app.hardware.vulkan import makers_with_driver

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Hardware:
    """`vulkan_for`: the makers of GPUs for which a Vulkan driver is installed."""

    gpus: tuple[Gpu, ...] = ()
    compute_nodes: tuple[ComputeNode, ...] = ()
    npus: tuple[Npu, ...] = ()
    vulkan_for: frozenset[Maker] = frozenset()


@dataclass(frozen=True, slots=True)
class Survey:
    """`usable`: what the engines on PATH can use, each by the name of the program that says so."""

    hardware: Hardware
    usable: Mapping[Device, str]


def survey(root: Path = ROOT) -> Survey:
    """Reads files in milliseconds; the programs that are on PATH are asked at once, and may take seconds."""
    hardware = read_hardware(root)
    with ThreadPoolExecutor() as pool:
        memory = pool.submit(_nvidia_memory, hardware)
        usable = usable_devices(pool)
        return Survey(with_memory(hardware, memory.result()), usable)


def read_hardware(root: Path = ROOT) -> Hardware:
    """What files tell, under the folder that has /sys, /proc, /dev and /usr."""
    return Hardware(tuple(gpus(root)), tuple(compute_nodes(root)), tuple(npus(root)), makers_with_driver(root))


def usable_devices(pool: ThreadPoolExecutor) -> dict[Device, str]:
    """Asks the programs of all providers at once for the devices that they find."""
    asked = {
        name: pool.submit(provider.devices_of, programs)
        for name, provider in PROVIDERS.items()
        if (programs := programs_on_path(provider))
    }
    found: dict[Device, str] = {}
    for name, answer in asked.items():
        for device in sorted(answer.result()):
            found.setdefault(device, ", ".join(programs_on_path(PROVIDERS[name])))
    return found


def with_memory(hardware: Hardware, bytes_by_address: Mapping[str, int]) -> Hardware:
    """`bytes_by_address` for GPUs whose files do not tell."""
    known = (replace(gpu, own_bytes=bytes_by_address.get(gpu.address, gpu.own_bytes)) for gpu in hardware.gpus)
    return replace(hardware, gpus=tuple(known))


def _nvidia_memory(hardware: Hardware) -> dict[str, int]:
    program = which(PROGRAM) if any(gpu.maker is Maker.NVIDIA for gpu in hardware.gpus) else None
    return memory_by_address(program) if program is not None else {}
