"""The environment of vLLM for a slot. Pure."""

from collections.abc import Mapping

from providers.base import Placement
from providers.devices import Device
from providers.vllm.options import VllmSlot

KEY_VARIABLE = "VLLM_API_KEY"
"""Where vLLM reads its API key, since everybody can read an argv."""
GROUP_VARIABLE, ADDRESS_VARIABLE = "HAL0_PLACEMENT_GROUP", "RAY_ADDRESS"
"""Which GPUs are the slot's on the cluster, for `ray_executor.py`; vLLM's own processes read the second, too."""
VISIBLE_DEVICES: Mapping[Device, str] = {
    Device.CUDA: "CUDA_VISIBLE_DEVICES",
    Device.ROCM: "HIP_VISIBLE_DEVICES",
}


def own_environment(slot: VllmSlot, placement: Placement) -> dict[str, str]:
    """What this slot adds to the node's own environment."""
    return (
        {
            KEY_VARIABLE: placement.token,
            "VLLM_CACHE_ROOT": str(placement.cache_dir / "vllm"),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            # Its log goes to a file.
            "NO_COLOR": "1",
        }
        | _of_device(slot, placement)
        | ({"VLLM_SERVER_DEV_MODE": "1"} if slot.options.sleep_when_idle else {})
        | dict(slot.options.env)
    )


def _of_device(slot: VllmSlot, placement: Placement) -> dict[str, str]:
    if placement.placement_group:
        # Ray tells each worker which GPU is its own.
        told = {GROUP_VARIABLE: placement.placement_group, ADDRESS_VARIABLE: placement.cluster_address}
        return told | dict(placement.cluster_key)
    # By its own choice vLLM listens on the node's address for its processes, which all are here.
    here = {"VLLM_HOST_IP": placement.host}
    if placement.device is Device.CPU:
        size = slot.options.cpu_cache_gib
        return here | _threads(placement) | ({} if size is None else {"VLLM_CPU_KVCACHE_SPACE": str(size)})
    variable = VISIBLE_DEVICES[placement.device]
    return here | ({variable: ",".join(placement.accelerator_ids)} if placement.accelerator_ids else {})


def _threads(placement: Placement) -> dict[str, str]:
    """Bound to no core: several engines would be bound to the same ones."""
    return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(placement.cpu_threads)}
