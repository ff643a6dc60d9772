"""A Vulkan driver that computes on the CPU, so that the Vulkan path is tested on a machine without a GPU."""

import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "software-vulkan"
"""Where `make test` has it from scripts/software-vulkan."""
MANIFEST = "vk_swiftshader_icd.json"


def environment() -> dict[str, str]:
    """Of a process that is to use it. Skips the test where there is none."""
    if not (FOLDER / MANIFEST).is_file():
        pytest.skip(f"no software Vulkan driver: scripts/software-vulkan {FOLDER} fetches one where there is apt")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(FOLDER), os.environ.get("LD_LIBRARY_PATH")))),
        "VK_ICD_FILENAMES": str(FOLDER / MANIFEST),
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
    }
