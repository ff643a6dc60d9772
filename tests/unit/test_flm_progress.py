"""How much of a load is done, by the log of `flm serve`."""

import pytest

from providers.flm.progress import load_progress

ASR = "\033[32m[FLM]  ASR mode enabled: reserving additional 1GB of memory\033[0m\n"
EMBED = "\033[32m[FLM]  Embedding mode enabled: reserving additional 300MB of memory\033[0m\n"
HEARS, EMBEDS, SPEAKS = (
    f"[FLM]  Loading model: /m/models/{name}\n"
    for name in ("Whisper-V3-Turbo-NPU2", "Embedding-Gemma-300M-NPU2", "Qwen3-0.6B-NPU2")
)
LOADED = "[FLM]  Starting server on port 52625...\n"


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ("", None),
        (SPEAKS, None),
        (ASR + EMBED, None),
        (ASR + EMBED + HEARS, 0.0),
        (ASR + EMBED + HEARS + EMBEDS, 1 / 3),
        (ASR + EMBED + HEARS + EMBEDS + SPEAKS, 2 / 3),
        (ASR + EMBED + HEARS + EMBEDS + SPEAKS + LOADED, 1.0),
        (ASR + HEARS, 0.0),
        (ASR + HEARS + SPEAKS, 1 / 2),
        (ASR + HEARS + SPEAKS + SPEAKS, 1 / 2),
        (SPEAKS + LOADED, 1.0),
        (LOADED.rstrip(), 1.0),
        ("Loading model: not of flm", None),
    ],
)
def test_the_share_of_models(output: str, share: float | None) -> None:
    assert load_progress(output) == share
