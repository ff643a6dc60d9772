"""How a model is opened with ONNX Runtime: on which device, and with how many threads.

Vulkan is ONNX Runtime's WebGPU provider, a plugin, which computes through Dawn on the Vulkan drivers of any vendor:
https://onnxruntime.ai/docs/execution-providers/WebGPU-ExecutionProvider.html

CUDA is in ONNX Runtime's GPU build, which is a package of its own instead of the usual one:
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

import ctypes
import os
import re
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from providers.devices import Device
from providers.errors import ProviderError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

CUDA_PROVIDER, CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"
PLUGIN_NAME = "hal0-webgpu"
LOADER = "libvulkan.so.1"
SOFTWARE_VARIABLE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"
"""Set to 1, the plugin takes a driver that computes on the CPU, too: for tests."""
ERROR = 3
"""A severity of its log."""
LIBRARY_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")

_registering = threading.Lock()
_registered = False


def open_session(path: Path, device: Device, threads: int) -> "InferenceSession":
    """Raises `ProviderError` if the model cannot be opened, or the device not be used."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERROR
    providers: list[str] | None = None
    if device is Device.VULKAN:
        options.add_provider_for_devices([_vulkan_adapter()], {})
    elif device is Device.CUDA:
        _require_cuda_build()
        providers = [CUDA_PROVIDER, CPU_PROVIDER]
    elif device is not Device.CPU:
        raise ProviderError(f"ONNX Runtime is not set up for device {device}; allowed: cpu, vulkan, cuda")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the library's errors share no base of their own
        advice = f" ({vulkan_trouble() or 'see what `vulkaninfo --summary` lists'})" if device is Device.VULKAN else ""
        raise ProviderError(f"ONNX Runtime cannot open {path} on {device}: {_reason(error)}{advice}") from error
    # It falls back to the CPU by itself, and says so in the log alone.
    if device is Device.CUDA and CUDA_PROVIDER not in session.get_providers():
        raise ProviderError(
            "ONNX Runtime cannot use CUDA on this machine: it needs an NVIDIA GPU, its driver, and the CUDA and cuDNN "
            "that this build was made for (pip install 'onnxruntime-gpu[cuda,cudnn]'); the log says what is missing"
        )
    return session


def vulkan_trouble() -> str | None:
    """Why Vulkan cannot be used here; None: a driver was found. Loads ONNX Runtime and its plugin."""
    try:
        _vulkan_adapter()
    except ProviderError as error:
        return str(error)
    return None


def _require_cuda_build() -> None:
    import onnxruntime

    if CUDA_PROVIDER not in onnxruntime.get_available_providers():
        raise ProviderError(
            "device cuda needs ONNX Runtime's GPU build, which replaces the usual one: "
            "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    # CUDA's libraries may be packages of pip, which no linker finds.
    onnxruntime.preload_dlls()


def _vulkan_adapter() -> Any:
    """The `OrtEpDevice` of the first adapter."""
    if find_spec("onnxruntime_ep_webgpu") is None:
        raise ProviderError("device vulkan needs the package onnxruntime-ep-webgpu: pip install 'hal0[vulkan]'")
    try:
        ctypes.CDLL(LOADER)
    except OSError as error:
        raise ProviderError(
            f"device vulkan needs {LOADER}; install your system's Vulkan loader (libvulkan1)"
        ) from error
    import onnxruntime

    _register_plugin()
    from onnxruntime_ep_webgpu import get_ep_name  # type: ignore[import-untyped]

    for adapter in onnxruntime.get_ep_devices():
        if adapter.ep_name == get_ep_name():
            return adapter
    software = (
        "" if os.environ.get(SOFTWARE_VARIABLE) == "1" else f"; software drivers count with {SOFTWARE_VARIABLE}=1"
    )
    raise ProviderError(f"ONNX Runtime finds no GPU for Vulkan on this machine{software}")


def _register_plugin() -> None:
    """A process registers a plugin once; a second time is an error of the library."""
    global _registered
    import onnxruntime
    from onnxruntime_ep_webgpu import get_library_path

    with _registering:
        if not _registered:
            onnxruntime.set_default_logger_severity(ERROR)
            onnxruntime.register_execution_provider_library(PLUGIN_NAME, get_library_path())
            _registered = True


def _reason(error: Exception) -> str:
    """The library's text without the places in its source."""
    text = " ".join(str(error).split()) or type(error).__name__
    return LIBRARY_PLACE.sub("", text.rpartition(" was false. ")[2])
