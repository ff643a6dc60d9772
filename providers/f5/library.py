"""The parts of F5-TTS and Vocos that speak, without the rest of what these import. Importing takes seconds.

To speak, F5-TTS needs none of its trainer, of librosa and of torchaudio, nor Vocos of EnCodec and of torchaudio; yet
they import them, and torchaudio ends that with an error if it was built for another CUDA than PyTorch is. So modules
without content stand in for them meanwhile.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from providers.errors import ProviderError

STAND_INS: dict[str, tuple[str, ...]] = {
    "f5_tts.model.trainer": ("Trainer",),
    "librosa": (),
    "librosa.filters": ("mel",),
    "torchaudio": (),
    "torchaudio.functional": (),
    "torchaudio.functional.functional": ("_hz_to_mel", "_mel_to_hz"),
    "encodec": ("EncodecModel",),
}
"""Modules, and the names that are imported from them."""
NEEDED = ("torch", "f5_tts", "vocos")
ADVICE = "set options.python to that of an environment which has them: scripts/f5-venv makes one"


def require() -> None:
    """Raises `ProviderError` if this Python cannot run F5-TTS. Imports nothing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ProviderError(f"F5-TTS needs the packages {', '.join(missing)}, which {sys.executable} has not; {ADVICE}")


def import_all() -> None:
    """After it, `f5_tts.model` and `vocos` can be imported as usual. Raises `ProviderError`."""
    require()
    try:
        with _stand_ins():
            importlib.import_module("f5_tts.model")
            importlib.import_module("vocos")
    except (ImportError, OSError) as error:
        raise ProviderError(f"F5-TTS cannot be imported by {sys.executable}: {error}; {ADVICE}") from error


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Modules that were there before are there again after it."""
    before = {name: sys.modules.get(name) for name in STAND_INS}
    sys.modules.update({name: _stand_in(name, names) for name, names in STAND_INS.items()})
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _stand_in(name: str, names: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    for one in names:
        setattr(module, one, None)
    return module
