"""How a slot's F5-TTS is loaded, without ever asking the network."""

import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from providers.base import ModelFiles, Placement
from providers.devices import Device
from providers.errors import ProviderError
from providers.f5.files import ADVICE, AGAIN, VOCAB, F5Files, find
from providers.f5.library import import_all
from providers.f5.mel import HOP, SAMPLE_RATE, WINDOW
from providers.f5.options import F5Options, F5Slot
from providers.f5.shape import BANDS, Shape, shape_of
from providers.f5.synthesizer import F5Synthesizer
from providers.f5.vocoder import load_vocoder

logger = logging.getLogger("hal0.f5")

LICENCE = (
    "F5-TTS's published weights are under CC-BY-NC 4.0: not for commercial use. "
    "Clone the voices only of people who agree to it."
)
ARCHITECTURES: MappingProxyType[str, MappingProxyType[str, object]] = MappingProxyType(
    {
        "v1": MappingProxyType({"text_mask_padding": True, "pe_attn_head": None}),
        "v0": MappingProxyType({"text_mask_padding": False, "pe_attn_head": 1}),
    }
)
"""By `options.architecture`, what the library's `DiT` is made with."""
EMA, PLAIN = "ema_model_state_dict", "model_state_dict"
COUNTERS = frozenset({"initted", "step"})
"""What training left beside the weights."""
SPECTRUM = "mel_spec."


def load(slot: F5Slot, model: ModelFiles, placement: Placement) -> F5Synthesizer:
    """Takes seconds to minutes. Raises `ProviderError`, which says what is wrong with the files or the device."""
    import_all()
    files = find(model)
    import torch  # type: ignore[import-not-found]

    device = _device(placement.device)
    threads = slot.options.threads or placement.cpu_threads
    at_once = (
        min(threads, slot.parallel_requests) if placement.device is Device.CPU and slot.options.seed is None else 1
    )
    torch.set_num_threads(threads // at_once)
    logger.info(LICENCE)
    network = _network(files, slot.options).to(
        device, torch.float32 if placement.device is Device.CPU else torch.float16
    )
    synthesizer = F5Synthesizer(network.eval(), load_vocoder(files).to(device), slot.options, at_once)
    try:
        synthesizer.warm_up()
    except Exception:
        synthesizer.close()
        raise
    return synthesizer


def _device(device: Device) -> str:
    """PyTorch calls AMD's GPUs by the name of NVIDIA's."""
    import torch

    if device is Device.CPU:
        return "cpu"
    if not torch.cuda.is_available():
        raise ProviderError(f"PyTorch {torch.__version__} finds no {device} device here; set device: cpu, or mend that")
    return "cuda"


def _network(files: F5Files, options: F5Options) -> Any:
    """The library's `CFM`, with its weights, on the CPU."""
    from f5_tts.model import CFM, DiT  # type: ignore[import-not-found]

    weights = _weights(files.weights)
    shape = _shape(files.weights, weights)
    network = CFM(
        transformer=DiT(**asdict(shape), mel_dim=BANDS, dropout=0.0, **ARCHITECTURES[options.architecture]),
        mel_spec_kwargs={
            "n_fft": WINDOW,
            "hop_length": HOP,
            "win_length": WINDOW,
            "n_mel_channels": BANDS,
            "target_sample_rate": SAMPLE_RATE,
            "mel_spec_type": "vocos",
        },
        odeint_kwargs={"method": "euler"},
        vocab_char_map=_vocabulary(files, shape),
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ProviderError(f"{files.weights} does not fit F5-TTS's network: {_first_line(error)}; {ADVICE}") from error
    return network


def _weights(path: Path) -> dict[str, Any]:
    """By the names that the network has for them."""
    try:
        found = _read(path)
    except Exception as error:  # the libraries' errors share no base of their own
        raise ProviderError(f"{path} cannot be read: {_first_line(error)}; {AGAIN}: {ADVICE}") from error
    named = {name.removeprefix("ema_model."): tensor for name, tensor in found.items()}
    return {name: one for name, one in named.items() if name not in COUNTERS and not name.startswith(SPECTRUM)}


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return dict(checkpoint.get(EMA) or checkpoint[PLAIN])


def _shape(path: Path, weights: dict[str, Any]) -> Shape:
    try:
        return shape_of({name: tuple(tensor.shape) for name, tensor in weights.items()})
    except ValueError as error:
        raise ProviderError(f"{path} has the weights of another model: {error}; {ADVICE}") from error


def _vocabulary(files: F5Files, shape: Shape) -> dict[str, int]:
    """The number of each character that the model knows, and of each syllable of Pinyin."""
    from importlib.resources import as_file
    from importlib.resources import files as carried

    from f5_tts.model.utils import get_tokenizer  # type: ignore[import-not-found]

    with as_file(carried("f5_tts") / "infer/examples/vocab.txt") as published:
        path = files.vocab or published
        try:
            vocabulary, size = get_tokenizer(str(path), "custom")
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderError(f"{path} cannot be read: {error}") from error
    if size != shape.text_num_embeds:
        raise ProviderError(
            f"{path} has {size} characters, and the weights know {shape.text_num_embeds}; they do not belong together: "
            f"set companions.{VOCAB} to the model's own"
        )
    return dict(vocabulary)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
