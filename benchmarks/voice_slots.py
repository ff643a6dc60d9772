"""Slots that hear and speak, on tiny models, for what is measured of them beside all else."""

from pathlib import Path

from benchmarks.slots import PARALLEL, SlotRecord
from providers.tiny import make_demo_models

HEARING, SPEAKING = "stt", "tts"


def make_voice_slots(models: Path) -> tuple[SlotRecord, SlotRecord]:
    """Moonshine and Kokoro, with their models made in that folder."""
    made = make_demo_models(models)
    return (
        # Tones are no voices: what is loud is speech.
        _slot(HEARING, "moonshine", made["tiny-moonshine"], "transcription", {"voice_detector": "level"}),
        _slot(SPEAKING, "kokoro", made["tiny-kokoro"], "speech", {}),
    )


def tones(models: Path) -> Path:
    """A short sound whose words the slot that hears knows."""
    return models / "tones.wav"


def _slot(name: str, provider: str, model: Path, capability: str, options: dict[str, str]) -> SlotRecord:
    return {
        "name": name,
        "provider": provider,
        "model": str(model),
        "capabilities": [capability],
        "device": "cpu",
        "parallel_requests": PARALLEL,
        "unload_after_s": None,
        # A tiny model gains nothing from more threads, and idle ones spin on the cores that both sides share.
        "options": {"threads": 1, **options},
    }
