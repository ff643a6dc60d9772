"""What a Whisper will take for a slot: its weights in the numbers that it computes with, and what a request adds."""

import re
from collections.abc import Sequence
from pathlib import Path

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.whisper.computing import PREFERRED, WIDTHS, Width
from providers.whisper.folder import WEIGHTS
from providers.whisper.options import ComputeType, WhisperSlot
from providers.whisper.weights import BrokenWeights, Variable, read_variables

AUDIO_POSITIONS, TEXT_POSITIONS = 1500, 448
"""Of a window of 30 s, in every Whisper."""
HEAD = 64
"""Numbers of one attention head, in every Whisper."""
PIECE_BYTES = 96 * 2**20
"""Of the longest piece: its samples, their spectrum and what comes between."""

_EMBEDDINGS = "decoder/embeddings/weight"
_LAYER = re.compile(r"decoder/layer_(\d+)/")


def memory_needs(slot: WhisperSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if the weights are missing or of another kind."""
    try:
        variables = read_variables(Path(model.main) / WEIGHTS)
    except (OSError, BrokenWeights):
        return None
    chosen = slot.options.compute_type
    width = WIDTHS[_auto(device) if chosen == "auto" else chosen]
    weights = sum(one.elements * (width.matrices if one.is_matrix else width.rest) for one in variables)
    cache = slot.parallel_requests * (PIECE_BYTES + _window_bytes(slot, variables, width))
    return MemoryNeeds(weights, cache, device_share=0.0 if device is Device.CPU else 1.0)


def _auto(device: Device) -> ComputeType:
    return PREFERRED.get(device, PREFERRED[Device.CPU])[0]


def _window_bytes(slot: WhisperSlot, variables: Sequence[Variable], width: Width) -> int:
    """The encoder's attention, which is the most that it holds at once, and the decoder's caches of the audio, and of
    each of the texts that are weighed."""
    length = next((one.shape[1] for one in variables if one.name == _EMBEDDINGS and len(one.shape) == 2), 0)
    layers = len({match[1] for one in variables if (match := _LAYER.match(one.name))})
    attention = max(1, length // HEAD) * AUDIO_POSITIONS**2
    caches = 2 * length * layers * (AUDIO_POSITIONS + slot.options.beam_size * TEXT_POSITIONS)
    return slot.options.batch_size * (attention + caches) * width.rest
