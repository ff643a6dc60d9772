"""What llama.cpp will take for a slot: its files' sizes, and the KV cache that their header leads to expect.

Left out, since the header does not tell them simply: the buffers of the computation, the small states of recurrent
layers, and what a draft model in `extra_args` takes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.llamacpp.gguf_header import BrokenHeader, read_metadata
from providers.llamacpp.model_shape import Layer, cached_layers, layer_count
from providers.llamacpp.options import LlamaCppSlot

PART = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
CELLS_AT_ONCE = 256
"""llama.cpp rounds a context up to this many tokens."""
DEFAULT_CACHE_TYPE = "f16"
DEFAULT_UBATCH = 512
BYTES_PER_ELEMENT: Mapping[str, float] = {
    "f32": 4,
    "f16": 2,
    "bf16": 2,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Quantised types store 32 elements in a block, with its scale."""


def memory_needs(slot: LlamaCppSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if a file is missing or broken."""
    try:
        metadata = read_metadata(model.main)
        files = [part for file in (model.main, *model.companions.values()) for part in parts_of(file)]
        weights = sum(file.stat().st_size for file in files)
        layers = layer_count(metadata)
        cache = sum(_layer_bytes(layer, slot) for layer in cached_layers(metadata))
    except (OSError, BrokenHeader):
        return None
    return MemoryNeeds(weights, round(cache), _device_share(slot, device, layers))


def parts_of(file: Path) -> list[Path]:
    """All files of a model that is split into several, of which `file` is one."""
    match = PART.match(file.name)
    if match is None:
        return [file]
    count = int(match["count"])
    return [file.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def _layer_bytes(layer: Layer, slot: LlamaCppSlot) -> float:
    """Of all requests that the slot takes at once, each with a cache of its own."""
    options = slot.options
    cells = _rounded(slot.context_size)
    if layer.window is not None and "--swa-full" not in options.extra_args:
        cells = min(cells, _rounded(layer.window + (options.ubatch_size or DEFAULT_UBATCH)))
    keys = layer.key_elements * BYTES_PER_ELEMENT[options.cache_type_k or DEFAULT_CACHE_TYPE]
    values = layer.value_elements * BYTES_PER_ELEMENT[options.cache_type_v or DEFAULT_CACHE_TYPE]
    return cells * slot.parallel_requests * (keys + values)


def _rounded(cells: int) -> int:
    return -(-cells // CELLS_AT_ONCE) * CELLS_AT_ONCE


def _device_share(slot: LlamaCppSlot, device: Device, layers: int) -> float:
    """llama.cpp counts the output as one layer more."""
    if device is Device.CPU:
        return 0.0
    return 1.0 if slot.options.gpu_layers == "all" else min(1.0, slot.options.gpu_layers / (layers + 1))
