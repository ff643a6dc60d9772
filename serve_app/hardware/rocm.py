"""GPUs that AMD's compute driver serves: /sys/class/kfd, whose files have lines such as `simd_count 80`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.hardware.files import entries, text

DEVICE_FILE = "dev/kfd"


@dataclass(frozen=True, slots=True)
class ComputeNode:
    """`architecture` as ROCm names it, such as gfx1151."""

    architecture: str
    render_node: Path


def compute_nodes(root: Path) -> list[ComputeNode]:
    """None without the driver's device file: a kernel lists nodes that a container may not use."""
    return list(_nodes(root)) if (root / DEVICE_FILE).exists() else []


def _nodes(root: Path) -> Iterator[ComputeNode]:
    for folder in entries(root / "sys/class/kfd/kfd/topology/nodes", "*"):
        properties = _properties(folder / "properties")
        # CPUs are nodes, too; and a GPU that is not ours to see has no properties.
        if properties.get("simd_count", 0) > 0:
            minor = properties.get("drm_render_minor", 0)
            yield ComputeNode(architecture(properties.get("gfx_target_version", 0)), root / f"dev/dri/renderD{minor}")


def architecture(version: int) -> str:
    """110501 is gfx1151: two digits each for the generation's parts, the last two told in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _properties(path: Path) -> dict[str, int]:
    words = (line.split() for line in text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
