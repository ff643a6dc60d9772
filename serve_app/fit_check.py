"""A configuration against the nodes that there are: reads the model files that lie on this machine, and its memory."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from providers.base import MemoryNeeds
from providers.devices import Device
from providers.pulling import ModelUnavailable
from providers.registry import provider
from providers.spec import SlotSpec
from serve_app.config import ConfigError, ServingConfig
from serve_app.engine_memory import total_bytes
from serve_app.fit import oversized
from serve_app.models import ModelStore
from serve_app.placement import NodeResources, claim_of, resolve_device
from serve_app.want import Want

IN_A_FILE = "applications[0].args."
"""Where a Serve config file has our configuration."""


def this_machine(declared: Mapping[str, float]) -> NodeResources:
    """What Ray would find on this machine, and what it is told; GPUs apart, which it counts itself."""
    return {"CPU": float(os.cpu_count() or 1), "memory": float(total_bytes()), **declared}


def wants_of(config: ServingConfig, nodes: Sequence[NodeResources], models_dir: Path) -> list[Want]:
    """What each slot claims, and needs where its model is here. Fetches nothing."""
    wants = []
    for slot in config.slots:
        device = resolve_device(slot, provider(slot.provider).devices, nodes)
        needs = estimated_needs(slot, device, models_dir)
        wants.append(Want(slot, device, claim_of(slot, device), needs))
    return wants


def estimated_needs(slot: SlotSpec, device: Device, models_dir: Path) -> MemoryNeeds | None:
    """None if the model is not here, or nobody knows."""
    store = ModelStore(models_dir)
    try:
        files = store.fetch(slot) if store.present(slot) else None
    except (ModelUnavailable, OSError):
        return None
    return provider(slot.provider).memory_needs(slot, files, device) if files is not None else None


def require_fit(config: ServingConfig, wants: Sequence[Want], nodes: Sequence[NodeResources], path: str = "") -> None:
    """Raises `ConfigError`; `path` is put before the key paths of its problems."""
    if problems := oversized(config, wants, nodes, total_bytes()):
        raise ConfigError(tuple(path + problem for problem in problems))
