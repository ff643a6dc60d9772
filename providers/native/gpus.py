"""Which GPUs a native engine's own process sees. Pure."""

from types import MappingProxyType

from providers.base import Placement
from providers.devices import Device

VISIBLE_DEVICES: MappingProxyType[Device, str] = MappingProxyType(
    {Device.CUDA: "CUDA_VISIBLE_DEVICES", Device.ROCM: "HIP_VISIBLE_DEVICES"}
)


def visible_gpus(placement: Placement) -> dict[str, str]:
    """The variable for a child process, in a container or not: it sees all of the node's GPUs unless it is told which
    are the slot's. Ray has told the actor."""
    variable = VISIBLE_DEVICES.get(placement.device)
    if variable is None or not placement.accelerator_ids:
        return {}
    return {variable: ",".join(placement.accelerator_ids)}
