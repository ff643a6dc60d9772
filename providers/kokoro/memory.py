"""What Kokoro will take for a slot: its weights, its voices, and what it computes a sentence with."""

from providers.base import MemoryNeeds, ModelFiles
from providers.devices import Device
from providers.errors import ProviderError
from providers.kokoro.files import found
from providers.kokoro.options import KokoroSlot

SENTENCE_BYTES = 640 * 2**20
"""Of the longest text that the model speaks at once, about half a minute of speech; reckoned, not measured: ten tensors
of 128 channels at the last of its rates."""


def memory_needs(slot: KokoroSlot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
    """None if a file is missing or of another kind."""
    try:
        files = found(model)
        weights = files.model.stat().st_size
        voices = [files.voices] if files.voices.is_file() else files.voices.glob("*.bin")
        styles = sum(path.stat().st_size for path in voices)
    except (OSError, ProviderError):
        return None
    # One sentence is computed at a time, whatever the number of requests.
    return MemoryNeeds(weights + styles, SENTENCE_BYTES, device_share=0.0 if device is Device.CPU else 1.0)
