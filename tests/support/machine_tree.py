"""Trees of /sys, /proc, /dev and /usr as on real machines, with the files that are read."""

from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class MachineTree:
    root: Path

    def file(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def gpu(self, minor: int, address: str, vendor: str, device: str, **files: str | int) -> None:
        """A PCI device with a render node. Two underscores in the name of a file stand for a slash."""
        pci = f"sys/devices/pci0000:00/{address}"
        for name, text in {"vendor": vendor, "device": device, **files}.items():
            self.file(f"{pci}/{name.replace('__', '/')}", str(text))
        self.file(f"{pci}/uevent", f"PCI_CLASS=30000\nPCI_SLOT_NAME={address}")
        node = self.root / f"sys/class/drm/renderD{minor}"
        node.mkdir(parents=True)
        (node / "device").symlink_to(self.root / pci)
        self.file(f"dev/dri/renderD{minor}")

    def compute_node(self, number: int, simds: int, version: int, minor: int) -> None:
        properties = f"cpu_cores_count {0 if simds else 16}\nsimd_count {simds}\ngfx_target_version {version}\n"
        self.file(f"sys/class/kfd/kfd/topology/nodes/{number}/properties", f"{properties}drm_render_minor {minor}")

    def npu(self, number: int, driver: str) -> None:
        self.file(f"sys/class/accel/accel{number}/device/uevent", f"DRIVER={driver}\nPCI_ID=1022:17F0")
        self.file(f"dev/accel/accel{number}")

    def nvidia(self, address: str, model: str) -> None:
        self.file(f"proc/driver/nvidia/gpus/{address}/information", f"Model: \t\t {model}\nIRQ:   \t\t 184")

    def vulkan_driver(self, manifest: str) -> None:
        self.file(f"usr/share/vulkan/icd.d/{manifest}", "{}")


def strix_halo(root: Path, set_aside: int = 512 * MIB, shared: int = 62 * GIB) -> None:
    """A mini PC: one chip with GPU and NPU. The firmware sets a part of its memory aside for the GPU."""
    tree = MachineTree(root)
    tree.gpu(128, "0000:c4:00.0", "0x1002", "0x1586", mem_info_vram_total=set_aside, mem_info_gtt_total=shared)
    tree.compute_node(0, 0, 0, 0)
    tree.compute_node(1, 80, 110501, 128)
    tree.file("dev/kfd")
    tree.npu(0, "amdxdna")
    tree.vulkan_driver("radeon_icd.x86_64.json")


def rtx_workstation(root: Path) -> None:
    """One NVIDIA card beside an integrated Intel GPU."""
    tree = MachineTree(root)
    tree.gpu(128, "0000:00:02.0", "0x8086", "0xa780")
    tree.gpu(129, "0000:01:00.0", "0x10de", "0x2684")
    tree.nvidia("0000:01:00.0", "NVIDIA GeForce RTX 4090")
    tree.vulkan_driver("intel_icd.x86_64.json")
    tree.vulkan_driver("nvidia_icd.json")


def two_gpu_server(root: Path) -> None:
    """Two NVIDIA cards without displays, so that there is nothing of them in /sys/class/drm."""
    tree = MachineTree(root)
    tree.nvidia("0000:17:00.0", "NVIDIA L40S")
    tree.nvidia("0000:ca:00.0", "NVIDIA L40S")


def radeon_desktop(root: Path) -> None:
    """A discrete card beside the small GPU of its CPU."""
    tree = MachineTree(root)
    tree.gpu(
        128, "0000:03:00.0", "0x1002", "0x744c", product_name="Radeon RX 7900 XTX", mem_busy_percent=0,
        mem_info_vram_total=24 * GIB, mem_info_gtt_total=31 * GIB,
    )  # fmt: skip
    tree.gpu(129, "0000:0f:00.0", "0x1002", "0x164e", mem_info_vram_total=512 * MIB, mem_info_gtt_total=31 * GIB)
    tree.compute_node(0, 0, 0, 0)
    tree.compute_node(1, 192, 110000, 128)
    tree.file("dev/kfd")
    tree.vulkan_driver("radeon_icd.x86_64.json")


def arc_desktop(root: Path, **files: int) -> None:
    """`files`: in which the driver tells its memory."""
    tree = MachineTree(root)
    tree.gpu(128, "0000:03:00.0", "0x8086", "0xe20b", **files)
    tree.vulkan_driver("intel_icd.x86_64.json")
