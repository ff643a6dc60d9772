"""Which GPUs a native engine's own process sees. Pure."""

from types import MappingProxyType
from typing import TypeVar

from providers.base import Placement
from providers.devices import Device
from providers.native.options import NativeOptions

Options = TypeVar("Options", bound=NativeOptions)

VISIBLE_DEVICES: MappingProxyType[Device, str] = MappingProxyType(
    {Device.CUDA: "CUDA_VISIBLE_DEVICES", Device.ROCM: "HIP_VISIBLE_DEVICES"}
)


def seeing_its_gpus(options: Options, placement: Placement) -> Options:
    """A child process, in a container or not, sees all of the node's GPUs unless it is told which are the slot's; Ray
    has told the actor. What the slot's own `env` says goes before."""
    variable = VISIBLE_DEVICES.get(placement.device)
    if variable is None or not placement.accelerator_ids:
        return options
    visible = {variable: ",".join(placement.accelerator_ids)}
    return options.model_copy(update={"env": visible | dict(options.env)})
