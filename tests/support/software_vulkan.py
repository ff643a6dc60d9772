"""A Vulkan driver that computes on the CPU, so that the Vulkan path is tested on a machine without a GPU."""

import ctypes
import os
from pathlib import Path

import pytest

VARIABLE = "HAL0_TEST_VULKAN_ICD"
PLACES = (
    "/opt/google/chrome/vk_swiftshader_icd.json",
    "/usr/lib/chromium/vk_swiftshader_icd.json",
)


def manifest() -> Path | None:
    """The driver's, by the environment or where Chrome and Chromium bring it."""
    named = os.environ.get(VARIABLE)
    places = (Path(named),) if named else tuple(Path(place) for place in PLACES)
    return next((place for place in places if place.is_file()), None)


def environment() -> dict[str, str]:
    """Of a process that is to use it. Skips the test where there is none."""
    found = manifest()
    if found is None:
        pytest.skip(f"no software Vulkan driver; scripts/software-vulkan fetches one, {VARIABLE} names it")
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        pytest.skip("no Vulkan loader: apt-get install libvulkan1")
    return {**os.environ, "VK_ICD_FILENAMES": str(found), "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1"}
