"""What a slot computes with: its numbers, and how its threads are shared out to requests. Pure."""

from dataclasses import dataclass
from types import MappingProxyType

from providers.devices import Device
from providers.whisper.options import ComputeType

PREFERRED: MappingProxyType[Device, tuple[ComputeType, ...]] = MappingProxyType(
    {Device.CPU: ("int8", "float32"), Device.CUDA: ("float16", "int8", "float32")}
)
"""What `auto` stands for: the first that the hardware has. Old GPUs compute float16 no faster, and CTranslate2 then
does not offer it."""


@dataclass(frozen=True, slots=True)
class Width:
    """Bytes of a number in memory."""

    matrices: int
    rest: int


WIDTHS: MappingProxyType[ComputeType, Width] = MappingProxyType(
    {
        "int8": Width(1, 4),
        "int8_float32": Width(1, 4),
        "int8_float16": Width(1, 2),
        "int8_bfloat16": Width(1, 2),
        "int16": Width(2, 4),
        "float16": Width(2, 2),
        "bfloat16": Width(2, 2),
        "float32": Width(4, 4),
    }
)


@dataclass(frozen=True, slots=True)
class Sharing:
    """`workers` compute side by side on the same weights, with `threads` each."""

    workers: int
    threads: int


def shared(threads: int, requests: int) -> Sharing:
    """No more workers than threads: a request without a worker waits for one."""
    workers = min(threads, requests)
    return Sharing(workers, threads // workers)
