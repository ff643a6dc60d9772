"""What Moonshine will take for a slot: the files that it loads, and what it computes with."""

import os
from pathlib import Path

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.errors import ProviderError
from providers.moonshine.assembly import links_of
from providers.moonshine.folder import OrtFolder, inspect
from providers.moonshine.options import MoonshineSlot
from providers.moonshine.threads import shared

WEIGHTS = (".ort", ".onnx")
WORK_BYTES = 32 * 2**20
"""Of one piece: its audio, and the model's state at its full length."""


def memory_needs(slot: MoonshineSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if a file is missing or of another kind."""
    try:
        files, is_ort = _files(model)
        weights = sum(file.stat().st_size for file in files)
    except (OSError, ProviderError):
        return None
    threads = slot.options.threads or int(slot.resources.cpu) or os.cpu_count() or 1
    models = shared(threads, slot.parallel_requests).models if is_ort else 1
    return MemoryNeeds(
        weights * models, WORK_BYTES * slot.parallel_requests, device_share=0.0 if device is Device.CPU else 1.0
    )


def _files(model: ModelFiles) -> tuple[list[Path], bool]:
    if model.main.is_dir() and not model.companions:
        found = inspect(model.main)
        return [file for file in found.files if file.suffix in WEIGHTS], isinstance(found, OrtFolder)
    links = links_of(model)
    return [file for name, file in links.items() if name.endswith(WEIGHTS)], any(
        name.endswith(".ort") for name in links
    )
