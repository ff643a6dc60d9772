"""Vocos, which makes sound of F5-TTS's spectra. https://github.com/gemelo-ai/vocos"""

import warnings
from typing import Any

from providers.errors import ProviderError
from providers.f5.files import AGAIN, VOCODER_ADVICE, F5Files

BACKBONE, HEAD = "vocos.models.VocosBackbone", "vocos.heads.ISTFTHead"
"""The classes that a configuration may name. The library would make an object of any class that the file names, be it
one that starts programs."""
PARTS = ("backbone.", "head.")


def load_vocoder(files: F5Files) -> Any:
    """The library's `Vocos`, on the CPU. It is never asked for a sound's spectrum, so that it has no extractor. Raises
    `ProviderError`."""
    import torch  # type: ignore[import-not-found]
    import yaml
    from vocos import Vocos  # type: ignore[import-not-found]
    from vocos.heads import ISTFTHead  # type: ignore[import-not-found]
    from vocos.models import VocosBackbone  # type: ignore[import-not-found]

    path = files.vocoder_config
    try:
        config = yaml.safe_load(path.read_bytes())
        backbone, head = _arguments(config, "backbone", BACKBONE), _arguments(config, "head", HEAD)
        vocoder = Vocos(torch.nn.Identity(), VocosBackbone(**backbone), ISTFTHead(**head))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ProviderError(f"{path} describes no Vocos of this kind: {error}; {VOCODER_ADVICE}") from error
    path = files.vocoder_weights
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights = torch.load(path, map_location="cpu", weights_only=True)
        vocoder.load_state_dict({name: one for name, one in weights.items() if name.startswith(PARTS)})
    except Exception as error:  # the library's errors share no base of their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ProviderError(f"{path} cannot be loaded: {reason}; {AGAIN}: {VOCODER_ADVICE}") from error
    return vocoder.eval()


def _arguments(config: Any, part: str, wanted: str) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError."""
    named = config[part]["class_path"]
    if named != wanted:
        raise ValueError(f"{part} is {named}; allowed: {wanted}")
    return dict(config[part].get("init_args") or {})
