"""The environment of llama-server for a slot. Pure."""

from providers.base import Placement
from providers.devices import Device
from providers.llamacpp.options import LlamaCppSlot

KEY_VARIABLE = "LLAMA_API_KEY"
"""Where llama-server reads its API key, since everybody can read an argv."""

VISIBLE_DEVICES: dict[Device, tuple[str, ...]] = {
    Device.CPU: (),
    Device.VULKAN: ("GGML_VK_VISIBLE_DEVICES",),
    Device.ROCM: ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    Device.CUDA: ("CUDA_VISIBLE_DEVICES",),
}
HIDING_ALL: dict[Device, tuple[str, str]] = {
    Device.VULKAN: ("GGML_VK_VISIBLE_DEVICES", ""),
    Device.ROCM: ("HIP_VISIBLE_DEVICES", "-1"),
    Device.CUDA: ("CUDA_VISIBLE_DEVICES", "-1"),
}


def own_environment(slot: LlamaCppSlot, placement: Placement) -> dict[str, str]:
    """What this slot adds to the node's own environment."""
    return (
        {KEY_VARIABLE: placement.token, "LLAMA_CACHE": str(placement.cache_dir / "llama.cpp")}
        | _visible(placement)
        | dict(slot.options.env)
    )


def _visible(placement: Placement) -> dict[str, str]:
    """Only what Ray assigned, and nothing of other kinds of devices."""
    hidden = {
        name: value for device, (name, value) in HIDING_ALL.items() if device is not placement.device
    }
    ids = ",".join(placement.accelerator_ids)
    shown = dict.fromkeys(VISIBLE_DEVICES[placement.device], ids) if ids else {}
    return hidden | shown
