"""What an F5-TTS will take for a slot: its weights, its vocoder's, and what a request adds."""

import json
from pathlib import Path

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.errors import ProviderError
from providers.f5.files import VOCODER, VOCOS_WEIGHTS, find_weights
from providers.f5.options import F5Slot

REQUEST_BYTES = 320 * 2**20
"""Measured on the CPU with layers of the published size: a reference and its speech of 22 s, the longest computed."""
LONGEST_HEADER = 16 * 2**20
"""The head of a file of safetensors; that of the published models has 40 KB."""
NUMBER_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def memory_needs(slot: F5Slot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if the weights are missing or of another kind."""
    try:
        numbers = _numbers(find_weights(model.main))
        vocoder = (model.companions[VOCODER] / VOCOS_WEIGHTS).stat().st_size if VOCODER in model.companions else 0
    except (OSError, ProviderError, ValueError, TypeError, KeyError, AttributeError):
        return None
    on_cpu = device is Device.CPU
    weights = numbers * (4 if on_cpu else 2) + vocoder
    at_once = slot.parallel_requests if on_cpu and slot.options.seed is None else 1
    return MemoryNeeds(weights, at_once * REQUEST_BYTES, device_share=0.0 if on_cpu else 1.0)


def _numbers(path: Path) -> int:
    """How many are in the weights. Those of `.pt` are taken for float32, as all that are published."""
    if path.suffix == ".pt":
        return path.stat().st_size // NUMBER_BYTES["F32"]
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError("no safetensors")
        header = json.loads(file.read(length))
    spans = [(one["dtype"], one["data_offsets"]) for name, one in header.items() if name != "__metadata__"]
    return sum((end - begin) // NUMBER_BYTES.get(kind, 8) for kind, (begin, end) in spans)
