"""What vLLM needs for a slot: its files' sizes, and the keys and values that its `config.json` leads to expect.

On a GPU vLLM takes more, up to `gpu_memory_utilization` of it, for what prompts have in common. Left out, since files
do not tell it: buffers of the computation, CUDA graphs, a draft model. A window of attention is taken for the whole
context: rather too much than too little.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.vllm.options import TEXT, VllmSlot

GIB = 2**30
FORMATS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
"""The first that a folder has is what vLLM reads."""
SMALL_CACHES: Mapping[str, float] = {"fp8": 1, "int8": 1, "nvfp4": 0.5, "int4": 0.5}
"""Bytes of an element by how `kv_cache_dtype` begins."""
MOST = 2**40
"""Bytes of one token; more is no model's."""


def memory_needs(slot: VllmSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """On one node, where the slot is on several. None if a file is missing or broken."""
    try:
        weights = sum(_weights_bytes(folder) for folder in (model.main, *model.companions.values()))
        cache = _cache_bytes(slot, _config(model.main), device)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    stages = slot.options.pipeline_parallel
    return MemoryNeeds(weights // stages, cache // stages, 0.0 if device is Device.CPU else 1.0)


def _weights_bytes(folder: Path) -> int:
    """Raises OSError if there are none."""
    if folder.is_file():
        return folder.stat().st_size
    for pattern in FORMATS:
        if files := list(folder.glob(pattern)):
            return sum(file.stat().st_size for file in files)
    raise FileNotFoundError(folder)


def _config(folder: Path) -> dict[str, Any]:
    """Of the part that generates text, in a model that sees, too. Raises OSError or ValueError."""
    whole = json.loads((folder / "config.json").read_bytes())
    if not isinstance(whole, dict):
        raise ValueError("config.json is no object")
    text = whole.get("text_config")
    return {**whole, **text} if isinstance(text, dict) else whole


def _cache_bytes(slot: VllmSlot, config: Mapping[str, Any], device: Device) -> int:
    if not any(capability in TEXT for capability in slot.capabilities):
        return 0
    if device is Device.CPU and slot.options.cpu_cache_gib is not None:
        return slot.options.cpu_cache_gib * GIB
    tokens = slot.context_size * slot.parallel_requests
    return int(tokens * _token_elements(config) * _element_bytes(slot))


def _token_elements(config: Mapping[str, Any]) -> int:
    """What one token leaves in all layers. Raises KeyError, TypeError or ValueError."""
    layers = _number(config, "num_hidden_layers")
    if config.get("kv_lora_rank"):
        # Latent attention keeps one vector for keys and values of all heads.
        return layers * (_number(config, "kv_lora_rank") + _number(config, "qk_rope_head_dim"))
    heads = _number(config, "num_attention_heads")
    shared = _number(config, "num_key_value_heads") if config.get("num_key_value_heads") else heads
    length = _number(config, "head_dim") if config.get("head_dim") else _number(config, "hidden_size") // heads
    return 2 * layers * shared * length


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < MOST:
        raise ValueError(f"{key}: {value}")
    return value


def _element_bytes(slot: VllmSlot) -> float:
    wanted = slot.options.kv_cache_dtype or ""
    for beginning, size in SMALL_CACHES.items():
        if wanted.startswith(beginning):
            return size
    # By itself vLLM computes with 16 bits, also where the model's files have 32.
    return 4 if slot.options.dtype == "float32" else 2
