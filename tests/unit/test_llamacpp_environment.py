"""The environment of llama-server: its key, its devices, and nothing that it was not given."""

from pathlib import Path

import pytest

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.llamacpp.options import LlamaCppSlot
from providers.llamacpp.provider import LlamaCpp

MODEL = ModelFiles(Path("/models/m.gguf"))
ALWAYS = {"LLAMA_API_KEY": "key", "LLAMA_CACHE": "/cache/llama.cpp"}
NO_CUDA, NO_HIP, NO_VULKAN = (
    {"CUDA_VISIBLE_DEVICES": "-1"},
    {"HIP_VISIBLE_DEVICES": "-1"},
    {"GGML_VK_VISIBLE_DEVICES": ""},
)


def environment(
    device: Device, ids: tuple[str, ...] = (), env: dict[str, str] | None = None, base: dict[str, str] | None = None
) -> dict[str, str]:
    slot = LlamaCppSlot.model_validate(
        {"name": "s", "provider": "llama.cpp", "model": "m", "capabilities": ["chat"], "options": {"env": env or {}}}
    )
    placement = Placement(device, "127.0.0.1", 9000, "key", Path("/cache"), accelerator_ids=ids, base_env=base or {})
    return LlamaCpp().build_env(slot, MODEL, placement)


@pytest.mark.parametrize(
    ("device", "ids", "seen"),
    [
        (Device.CPU, (), NO_CUDA | NO_HIP | NO_VULKAN),
        (Device.CPU, ("0",), NO_CUDA | NO_HIP | NO_VULKAN),
        (Device.VULKAN, (), NO_CUDA | NO_HIP),
        (Device.VULKAN, ("1",), NO_CUDA | NO_HIP | {"GGML_VK_VISIBLE_DEVICES": "1"}),
        # HIP reads CUDA_VISIBLE_DEVICES, too, and counts anew what ROCR_VISIBLE_DEVICES leaves.
        (Device.ROCM, (), NO_VULKAN),
        (Device.ROCM, ("1", "2"), NO_VULKAN | {"HIP_VISIBLE_DEVICES": "1,2"}),
        (Device.CUDA, (), NO_HIP | NO_VULKAN),
        (Device.CUDA, ("0", "3"), NO_HIP | NO_VULKAN | {"CUDA_VISIBLE_DEVICES": "0,3"}),
    ],
)
def test_an_engine_sees_its_own_devices_and_no_others(
    device: Device, ids: tuple[str, ...], seen: dict[str, str]
) -> None:
    assert environment(device, ids) == ALWAYS | seen


@pytest.mark.parametrize("device", [Device.CPU, Device.VULKAN, Device.ROCM, Device.CUDA])
def test_the_slot_knows_best(device: Device) -> None:
    mine = {
        "GGML_VK_VISIBLE_DEVICES": "7",
        "HIP_VISIBLE_DEVICES": "8",
        "CUDA_VISIBLE_DEVICES": "9",
        "LLAMA_CACHE": "/c",
    }
    assert environment(device, ("0",), env=mine, base={"LLAMA_CACHE": "/base"}) == ALWAYS | mine


def test_the_nodes_environment_is_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL0_API_KEYS", "secret")
    base = {"PATH": "/bin", "HOME": "/home/me", "LLAMA_API_KEY": "of someone else", "CUDA_VISIBLE_DEVICES": "5"}
    assert environment(Device.CPU, base=base) == base | ALWAYS | NO_CUDA | NO_HIP | NO_VULKAN
    assert base["CUDA_VISIBLE_DEVICES"] == "5"
