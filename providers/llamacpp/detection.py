"""Which devices a llama-server finds on this machine."""

import re
import subprocess
from pathlib import Path

from providers.devices import Device
from providers.llamacpp.command import DEVICE_KIND

LISTING_TIMEOUT_S = 20.0


def listed_devices(program: Path) -> frozenset[Device]:
    """What `llama-server --list-devices` names. A program that cannot tell finds none."""
    try:
        done = subprocess.run(
            [program, "--list-devices"], capture_output=True, text=True, timeout=LISTING_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return devices_in(done.stdout + done.stderr)


def devices_in(listing: str) -> frozenset[Device]:
    """Lines such as `  Vulkan0: AMD Radeon 8060S (65536 MiB, 64000 MiB free)`."""
    return frozenset(
        device for device, kind in DEVICE_KIND.items() if re.search(rf"^\s*{kind}\d+:", listing, re.MULTILINE)
    )
