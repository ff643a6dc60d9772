"""What lies in a Moonshine model's folder. It is checked before the library loads it, whose own errors say nothing."""

import json
import mmap
from dataclasses import dataclass
from pathlib import Path

from providers.errors import ProviderError
from providers.moonshine.names import (
    CONFIG,
    DECODER,
    ENCODER,
    FRONTENDS,
    LAYERS,
    ONNX_CONFIG,
    ONNX_DECODER,
    ONNX_ENCODER,
    ONNX_FOLDER,
    ONNX_TOKENIZER,
    STREAMING_ENCODER,
    TOKENIZER,
    Architecture,
)

MAGIC, MAGIC_AT = b"ORTM", 4
MOST_LAYERS = 64
LONG = 128
"""From this first byte on, the length of a token takes two."""
ADVICE = (
    "a Moonshine model is a folder (or an encoder with its companions) with "
    f"{ENCODER}, {DECODER} and {TOKENIZER}; or {CONFIG} and the files of a streaming model; "
    f"or {ONNX_FOLDER}/{ONNX_ENCODER}, {ONNX_FOLDER}/{ONNX_DECODER}, {ONNX_TOKENIZER} and {ONNX_CONFIG}"
)


@dataclass(frozen=True, slots=True)
class OrtFolder:
    """A model for the library. `files`: those that it loads."""

    path: Path
    architecture: Architecture
    files: tuple[Path, ...]
    tells_words: bool


@dataclass(frozen=True, slots=True)
class OnnxFolder:
    """A model for ONNX Runtime."""

    encoder: Path
    decoder: Path
    tokenizer: Path
    config: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.encoder, self.decoder)


def inspect(folder: Path) -> OrtFolder | OnnxFolder:
    """Raises `ProviderError`, which names the file, what is wrong with it, and what to do."""
    if not folder.is_dir():
        raise ProviderError(f"{folder} is no folder; {ADVICE}")
    if (folder / ENCODER).exists() or (folder / CONFIG).exists() or (folder / STREAMING_ENCODER).exists():
        return _ort_folder(folder)
    for place in (folder / ONNX_FOLDER, folder):
        if (place / ONNX_ENCODER).exists():
            return _onnx_folder(folder, place)
    raise ProviderError(f"{folder} has {_what_else(folder)}; {ADVICE}")


def _what_else(folder: Path) -> str:
    if (folder / "model.bin").exists():
        return "a model of faster-whisper: use provider: faster-whisper"
    if any(folder.glob("*.safetensors")):
        return "weights for PyTorch, not for Moonshine's own runtime"
    if any(folder.glob("*.gguf")):
        return "a GGUF file: use provider: llama.cpp"
    return f"no encoder (neither {ENCODER} nor {STREAMING_ENCODER} nor {ONNX_ENCODER})"


def _ort_folder(folder: Path) -> OrtFolder:
    architecture = Architecture.STREAMING if not (folder / ENCODER).exists() else None
    names = (architecture or Architecture.TINY).files + (_frontend(folder) if architecture else ())
    for name in names:
        _check(folder / name)
    if architecture is None:
        architecture = _told_by_layers(folder / DECODER)
    of_words = next((name for name in architecture.word_files if (folder / name).exists()), None)
    if of_words is not None:
        _check(folder / of_words)
    loaded = (*names, of_words) if of_words else names
    return OrtFolder(folder, architecture, tuple(folder / name for name in loaded), of_words is not None)


def _frontend(folder: Path) -> tuple[str, ...]:
    return next((names for names in FRONTENDS if (folder / names[0]).exists()), FRONTENDS[0])


def _told_by_layers(decoder: Path) -> Architecture:
    """The names of the decoder's inputs stand in the file as they are; the last layer is the highest number."""
    with decoder.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        layers = next(
            (count for count in range(MOST_LAYERS) if content.find(f"past_key_values.{count}.".encode()) < 0),
            MOST_LAYERS,
        )
    if layers not in LAYERS:
        known = " or ".join(f"{count} ({one.name.lower()})" for count, one in LAYERS.items())
        raise ProviderError(f"{decoder} has {layers} layers; Moonshine's decoders have {known}: it is another model's")
    return LAYERS[layers]


def _onnx_folder(folder: Path, place: Path) -> OnnxFolder:
    found = OnnxFolder(place / ONNX_ENCODER, place / ONNX_DECODER, folder / ONNX_TOKENIZER, folder / ONNX_CONFIG)
    for path in (*found.files, found.tokenizer, found.config):
        _check(path)
    return found


def _check(path: Path) -> None:
    """Whether the file is there, whole as far as its head tells, and of its kind."""
    if not path.exists():
        raise ProviderError(f"{path} is missing; {ADVICE}")
    if path.stat().st_size == 0:
        raise ProviderError(f"{path} is empty; remove the model and pull it again")
    if path.suffix == ".ort":
        _check_magic(path)
    elif path.suffix == ".json":
        _check_json(path)
    elif path.name == TOKENIZER:
        _check_tokenizer(path)


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(MAGIC_AT + len(MAGIC))
    if not head.endswith(MAGIC) or len(head) < MAGIC_AT + len(MAGIC):
        raise ProviderError(
            f"{path} is not in ONNX Runtime's own format (.ort), whatever its name; a plain ONNX export belongs into "
            f"{ONNX_FOLDER}/{ONNX_ENCODER} and {ONNX_FOLDER}/{ONNX_DECODER}"
        )


def _check_json(path: Path) -> None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{path} is no JSON: {error}; remove the model and pull it again") from error
    if not isinstance(content, dict):
        raise ProviderError(f"{path} holds no JSON object; it belongs to another model")


def _check_tokenizer(path: Path) -> None:
    """Tokens, each after its length: one byte, or `LONG + length % LONG` and `length // LONG`."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        if content[at] < LONG:
            at += 1 + content[at]
        else:
            at += 2 + content[at] - LONG + LONG * (content[at + 1] if at + 1 < len(content) else 0)
    if at != len(content):
        raise ProviderError(f"{path} is cut off or no tokenizer of Moonshine's; remove the model and pull it again")
