"""What `flm serve` will take of the node's memory, which is the NPU's as well.

A model's files are loaded as they are. The keys and values of one conversation are kept, as bfloat16, since requests
come one at a time. Layers that keep less of them (sliding windows, linear attention) count like the others, so that
this is at most what they take. The keys of config.json: FastFlowLM's src/include/lm_config.hpp.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from providers.base import MemoryNeeds, ModelFiles
from providers.capabilities import Capability
from providers.devices import Device
from providers.flm.options import FlmSlot

RESERVED: Mapping[Capability, int] = {Capability.TRANSCRIPTION: 1_000_000_000, Capability.EMBEDDING: 300_000_000}
"""What the program reserves for the model of each, its files included (main.cpp)."""
WORKING_BYTES = 512 << 20
"""What it reserves beside its models (main.cpp)."""
ELEMENT_BYTES = 2


def memory_needs(slot: FlmSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if the chat model's files are missing. `model.main`: its folder. The device has no memory of its own."""
    reserved = WORKING_BYTES + sum(size for role, size in RESERVED.items() if slot.offers(role))
    if not slot.offers(Capability.CHAT):
        return MemoryNeeds(reserved, cache_bytes=0)
    try:
        weights = sum(file.stat().st_size for file in model.main.iterdir() if file.is_file())
    except OSError:
        return None
    return MemoryNeeds(weights + reserved, _token_bytes(model.main) * slot.context_size) if weights else None


def _token_bytes(folder: Path) -> int:
    """Of the cache, by the model's own configuration; 0 where that does not tell."""
    try:
        told = json.loads((folder / "config.json").read_bytes())
        told = told.get("text_config", told)
        heads = int(told["num_key_value_heads"])
        size = int(told.get("head_dim") or told["hidden_size"] // told["num_attention_heads"])
        elements = 2 * int(told["num_hidden_layers"]) * heads * size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return 0
    return max(0, elements) * ELEMENT_BYTES
