"""Where the files of a Kokoro lie, found and looked at before they are loaded."""

from dataclasses import dataclass
from pathlib import Path

from providers.base import ModelFiles
from providers.errors import ProviderError
from providers.kokoro.names import MODEL, VOICES

ROLE = "voices"
HUB = "hf://onnx-community/Kokoro-82M-v1.0-ONNX"
ADVICE = (
    f"a Kokoro is an ONNX file with companions.{ROLE}, such as {HUB}/onnx/model.onnx with {HUB}/voices/, "
    f"or a folder with {MODEL} and {VOICES}, as kokoro-onnx releases them"
)
AGAIN = "remove the model and pull it again"
_HUB_MODEL, _HUB_VOICES = "onnx/model.onnx", "voices"
_OTHERS = ((b"GGUF", "a GGUF file"), (b"PK", "an archive of voices or PyTorch's"), (b"<", "a web page"))
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class KokoroFiles:
    """`voices`: an archive of them all, or a folder with a file for each."""

    model: Path
    voices: Path


def found(model: ModelFiles) -> KokoroFiles:
    """Raises `ProviderError`, which names what is missing or wrong, and what to do."""
    onnx = _model_in(model.main) if model.main.is_dir() else model.main
    voices = model.companions.get(ROLE) or _voices_in(model.main)
    _check_model(onnx)
    return KokoroFiles(onnx, voices)


def _model_in(folder: Path) -> Path:
    for path in (folder / MODEL, folder / _HUB_MODEL):
        if path.exists():
            return path
    others = sorted(folder.glob("*.onnx"))
    if len(others) == 1:
        return others[0]
    has = f"several models ({', '.join(path.name for path in others)})" if others else "no model"
    raise ProviderError(f"{folder} has {has}; {ADVICE}")


def _voices_in(folder: Path) -> Path:
    if folder.is_dir():
        for path in (folder / VOICES, folder / _HUB_VOICES, *sorted(folder.glob("voices*.bin"))):
            if path.exists():
                return path
    raise ProviderError(f"{folder} comes without voices: companions.{ROLE} is missing; {ADVICE}")


def _check_model(path: Path) -> None:
    if not path.is_file():
        raise ProviderError(f"{path} is missing; {ADVICE}")
    with path.open("rb") as file:
        head = file.read(len(_POINTER))
    if not head:
        raise ProviderError(f"{path} is empty; {AGAIN}")
    if head == _POINTER:
        raise ProviderError(f"{path} only points at a model: it comes from a clone without Git LFS; {AGAIN}")
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise ProviderError(f"{path} is {what}, not an ONNX model; {ADVICE}")
