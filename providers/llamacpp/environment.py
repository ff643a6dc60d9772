"""The environment of llama-server for a slot. Pure."""

from providers.base import Placement
from providers.devices import Device
from providers.llamacpp.options import LlamaCppSlot

KEY_VARIABLE = "LLAMA_API_KEY"
"""Where llama-server reads its API key, since everybody can read an argv."""

VISIBLE_DEVICES: dict[Device, tuple[str, str]] = {
    Device.VULKAN: ("GGML_VK_VISIBLE_DEVICES", ""),
    # Not ROCR_VISIBLE_DEVICES as well: HIP counts anew what that leaves, so that device 1 alone would be number 0.
    Device.ROCM: ("HIP_VISIBLE_DEVICES", "-1"),
    Device.CUDA: ("CUDA_VISIBLE_DEVICES", "-1"),
}
"""The variable that says which devices of a kind an engine may see, and its value for none."""

READS_ALSO: dict[Device, Device] = {Device.ROCM: Device.CUDA}
"""Where HIP_VISIBLE_DEVICES is not set, HIP takes CUDA_VISIBLE_DEVICES for its own: to hide CUDA would hide it, too."""


def own_environment(slot: LlamaCppSlot, placement: Placement) -> dict[str, str]:
    """What this slot adds to the node's own environment."""
    return (
        {KEY_VARIABLE: placement.token, "LLAMA_CACHE": str(placement.cache_dir / "llama.cpp")}
        | _visible(placement)
        | dict(slot.options.env)
    )


def _visible(placement: Placement) -> dict[str, str]:
    """Only what Ray assigned, and nothing of other kinds of devices."""
    own = placement.device
    hidden = {
        name: nothing for device, (name, nothing) in VISIBLE_DEVICES.items() if device not in (own, READS_ALSO.get(own))
    }
    if not placement.accelerator_ids or own not in VISIBLE_DEVICES:
        return hidden
    return hidden | {VISIBLE_DEVICES[own][0]: ",".join(placement.accelerator_ids)}
