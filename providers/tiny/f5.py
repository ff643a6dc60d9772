"""A tiny F5-TTS and its tiny Vocos, with random weights, in the layout of those that are published.

What it says sounds like noise. It is as long as F5-TTS makes it, differs with its text and its reference, and is the
same again for the same seed. Made by the Python of an environment that has F5-TTS:
`python -m providers.tiny.f5 FOLDER`.
"""

import argparse
import string
from pathlib import Path
from typing import Any

from providers.f5.library import import_all
from providers.f5.mel import HOP, SAMPLE_RATE, WINDOW
from providers.f5.shape import BANDS
from providers.tiny.folders import model_folder

CHARACTERS = (" ", *string.ascii_letters, *string.digits, *".,!?';:-", "ni3", "hao3")
WEIGHTS, VOCAB, VOCODER = "tiny-f5.safetensors", "vocab.txt", "vocos"
SIZE = {"dim": 32, "depth": 2, "heads": 2, "dim_head": 16, "ff_mult": 2, "text_dim": 16, "conv_layers": 1}
SPREAD = 0.5
"""Of what the network adds at each step."""
CHARACTER_SPREAD = 100.0
"""So large that a single character can be heard."""


def make_f5(folder: Path) -> None:
    """The same files each time. Raises `ProviderError` where F5-TTS is not installed, and `OSError`."""
    import_all()
    import torch  # type: ignore[import-not-found]
    import yaml
    from safetensors.torch import save_file

    torch.manual_seed(0)
    with model_folder(folder) as draft:
        (draft / VOCAB).write_text("".join(f"{one}\n" for one in CHARACTERS), encoding="utf-8")
        save_file({f"ema_model.{name}": one.contiguous() for name, one in _network().items()}, draft / WEIGHTS)
        (draft / VOCODER).mkdir()
        weights, config = _vocoder()
        torch.save(weights, draft / VOCODER / "pytorch_model.bin")
        (draft / VOCODER / "config.yaml").write_text(yaml.safe_dump(config))


def _network() -> dict[str, Any]:
    import torch
    from f5_tts.model import CFM, DiT  # type: ignore[import-not-found]

    transformer = DiT(**SIZE, mel_dim=BANDS, text_num_embeds=len(CHARACTERS))
    # A network that has learned nothing adds nothing, and no moment of its sound heeds another.
    blocks = (block.attn_norm.linear for block in transformer.transformer_blocks)
    for layer in (transformer.proj_out, transformer.norm_out.linear, *blocks):
        torch.nn.init.normal_(layer.weight, std=SPREAD)
    torch.nn.init.normal_(transformer.text_embed.text_embed.weight, std=CHARACTER_SPREAD)
    network = CFM(transformer=transformer, mel_spec_kwargs={"n_mel_channels": BANDS, "target_sample_rate": SAMPLE_RATE})
    return dict(network.state_dict())


def _vocoder() -> tuple[dict[str, Any], dict[str, Any]]:
    """Its weights, and its configuration as https://huggingface.co/charactr/vocos-mel-24khz has it."""
    from vocos import Vocos  # type: ignore[import-not-found]
    from vocos.heads import ISTFTHead  # type: ignore[import-not-found]
    from vocos.models import VocosBackbone  # type: ignore[import-not-found]

    backbone = {"input_channels": BANDS, "dim": 32, "intermediate_dim": 64, "num_layers": 2}
    head = {"dim": 32, "n_fft": WINDOW, "hop_length": HOP, "padding": "center"}
    features = {"sample_rate": SAMPLE_RATE, "n_fft": WINDOW, "hop_length": HOP, "n_mels": BANDS, "padding": "center"}
    vocoder = Vocos(None, VocosBackbone(**backbone), ISTFTHead(**head))
    return dict(vocoder.state_dict()), {
        "feature_extractor": {"class_path": "vocos.feature_extractors.MelSpectrogramFeatures", "init_args": features},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    make_f5(parser.parse_args().folder)
