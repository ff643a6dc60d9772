"""GPUs as the kernel lists them: /sys/class/drm, and what NVIDIA's driver tells in /proc where it serves no display."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from serve_app.hardware.files import entries, number, text


class Maker(StrEnum):
    AMD = "AMD"
    INTEL = "Intel"
    NVIDIA = "NVIDIA"
    OTHER = "other"


MAKERS = {0x1002: Maker.AMD, 0x8086: Maker.INTEL, 0x10DE: Maker.NVIDIA}
"""By PCI's vendor ids."""
INTEL_INTEGRATED = "0000:00:02.0"
"""Where Intel's integrated GPUs always are."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """`own_bytes` is memory of its own, which programs on the CPU do not have: 0 if it shares the node's, None if its
    driver does not tell. `render_node` is the device file that engines open. `cuda`: NVIDIA's own driver serves it."""

    address: str
    maker: Maker
    name: str
    own_bytes: int | None
    render_node: Path | None = None
    cuda: bool = False


def gpus(root: Path) -> list[Gpu]:
    """In the order of their PCI addresses. `root` is where /sys, /proc and /dev are."""
    found = {gpu.address: gpu for gpu in _with_files(root)}
    for address, name in nvidia_names(root).items():
        if address not in found:
            found[address] = Gpu(address, Maker.NVIDIA, name, None, cuda=True)
    return [found[address] for address in sorted(found)]


def nvidia_names(root: Path) -> dict[str, str]:
    """Of the GPUs that NVIDIA's own driver serves, by PCI address."""
    return {
        folder.name: _field(text(folder / "information"), "Model") or "NVIDIA GPU"
        for folder in entries(root / "proc/driver/nvidia/gpus", "*")
    }


def _with_files(root: Path) -> Iterator[Gpu]:
    names = nvidia_names(root)
    for render in entries(root / "sys/class/drm", "renderD*"):
        device = render / "device"
        vendor = number(device / "vendor")
        if vendor is None:
            continue
        maker = MAKERS.get(vendor, Maker.OTHER)
        address = _address(device)
        name = names.get(address) or text(device / "product_name") or f"{maker} GPU {text(device / 'device')}"
        own_bytes = _own_bytes(maker, address, device)
        yield Gpu(address, maker, name, own_bytes, root / "dev/dri" / render.name, cuda=address in names)


def _address(device: Path) -> str:
    return _field(text(device / "uevent"), "PCI_SLOT_NAME", "=") or device.resolve().name


def _own_bytes(maker: Maker, address: str, device: Path) -> int | None:
    if maker is Maker.AMD:
        return _amd_bytes(device)
    if maker is Maker.INTEL:
        return 0 if address == INTEL_INTEGRATED else _intel_bytes(device)
    return None


def _amd_bytes(device: Path) -> int | None:
    """An integrated GPU uses what the firmware sets aside for it and, beyond that, the node's memory (`gtt`). If the
    first is the larger part it counts as its own, since the node's memory lacks it.

    The driver has neither `mem_busy_percent` nor `pcie_bw` for integrated ones (`default_attr_update` in Linux's
    drivers/gpu/drm/amd/pm/amdgpu_pm.c).
    """
    own = number(device / "mem_info_vram_total")
    if own is None or (device / "mem_busy_percent").exists() or (device / "pcie_bw").exists():
        return own
    return own if own > (number(device / "mem_info_gtt_total") or 0) else 0


def _intel_bytes(device: Path) -> int | None:
    """The driver xe has a file for each tile, i915 one for the card; either may be missing."""
    tiles = [number(tile / "physical_vram_size_bytes") for tile in entries(device, "tile*")]
    cards = [number(card / "lmem_total_bytes") for card in entries(device / "drm", "card*")]
    return sum(size for size in (*tiles, *cards) if size) or None


def _field(lines: str, name: str, sign: str = ":") -> str:
    for line in lines.splitlines():
        key, found, value = line.partition(sign)
        if found and key.strip() == name:
            return value.strip()
    return ""
