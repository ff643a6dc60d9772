"""The kinds of hardware an engine runs on, and the Ray resource that stands for each."""

from enum import StrEnum
from types import MappingProxyType


class Device(StrEnum):
    CPU = "cpu"
    VULKAN = "vulkan"
    ROCM = "rocm"
    CUDA = "cuda"
    NPU = "npu"


AUTO = "auto"
"""In a slot's `device`: the best device that both the provider and some node have."""

PREFERENCE = (Device.CUDA, Device.ROCM, Device.VULKAN, Device.NPU, Device.CPU)

RAY_RESOURCE: MappingProxyType[Device, str | None] = MappingProxyType(
    {
        Device.CPU: None,
        Device.VULKAN: "vulkan",
        Device.ROCM: "rocm",
        Device.CUDA: "GPU",
        Device.NPU: "npu",
    }
)

DECLARED_BY: MappingProxyType[Device, str] = MappingProxyType(
    {Device.VULKAN: "vulkan", Device.ROCM: "rocm", Device.CUDA: "cuda", Device.NPU: "npu"}
)
"""The resource by which a node says that an engine on it can use the device. Ray counts GPUs by itself, of any maker
and whether or not an engine there can use them, so that `GPU` says less."""

SHARED_CLAIM = 0.1
"""Units of its device that a slot claims when its config names no amount: up to ten slots share one device."""
