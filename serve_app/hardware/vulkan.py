"""Vulkan drivers that are installed. A manifest's name tells whose it is, such as `radeon_icd.x86_64.json`."""

from pathlib import Path

from serve_app.hardware.files import entries
from serve_app.hardware.gpu import Maker

FOLDERS = ("etc/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "usr/share/vulkan/icd.d")
"""https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md"""
NAMES: tuple[tuple[str, Maker], ...] = (
    ("radeon", Maker.AMD),
    ("amd", Maker.AMD),
    ("intel", Maker.INTEL),
    ("nvidia", Maker.NVIDIA),
    ("nouveau", Maker.NVIDIA),
)


def makers_with_driver(root: Path) -> frozenset[Maker]:
    """The makers of GPUs for which a Vulkan driver is installed, by its manifest's name."""
    manifests = [path.name.lower() for folder in FOLDERS for path in entries(root / folder, "*.json")]
    return frozenset(maker for start, maker in NAMES if any(name.startswith(start) for name in manifests))
