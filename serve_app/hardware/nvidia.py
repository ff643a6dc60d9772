"""What only `nvidia-smi` tells: how much memory NVIDIA's GPUs have."""

import subprocess
from pathlib import Path

PROGRAM = "nvidia-smi"
QUERY = ("--query-gpu=pci.bus_id,memory.total", "--format=csv,noheader,nounits")
LIMIT_S = 10.0
"""A driver that nobody has open takes seconds to come up."""
MIB = 1024**2


def memory_by_address(program: Path) -> dict[str, int]:
    """Bytes by PCI address. A program that cannot tell knows none."""
    try:
        done = subprocess.run([program, *QUERY], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return listed_memory(done.stdout) if done.returncode == 0 else {}


def listed_memory(listing: str) -> dict[str, int]:
    """Lines such as `00000000:01:00.0, 24564`, in MiB. `[N/A]` stands for a GPU that shares the node's memory."""
    rows = ([part.strip() for part in line.split(",")] for line in listing.splitlines())
    return {kernel_address(row[0]): _bytes(row[1]) for row in rows if len(row) == 2}


def kernel_address(address: str) -> str:
    """Eight digits for the domain, where the kernel has four."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _bytes(mib: str) -> int:
    return int(mib) * MIB if mib.isdigit() else 0
