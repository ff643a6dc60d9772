"""What lies in the folder of a Whisper for CTranslate2. It is checked before the library loads it, which would fetch a
missing tokenizer from the network, and whose errors do not say what to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from providers.errors import ProviderError
from providers.whisper.weights import BrokenWeights, Variable, read_variables

WEIGHTS, CONFIG, TOKENIZER, FEATURES = "model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"
NUMBERS = frozenset({"feature_size", "sampling_rate", "hop_length", "chunk_length", "n_fft"})
SUPPRESSED = ("suppress_ids", "suppress_ids_begin")
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
EXAMPLE = "hf://Systran/faster-whisper-small"
ADVICE = f"faster-whisper takes a folder of Whisper converted for CTranslate2, such as {EXAMPLE}"
AGAIN = "remove the model and pull it again"


@dataclass(frozen=True, slots=True)
class WhisperFolder:
    path: Path
    variables: tuple[Variable, ...]
    tells_languages: bool
    """Whether the model's configuration has what it detects languages by. Some converters leave it out."""
    tells_words: bool
    """Likewise, what it finds words by."""


def inspect(folder: Path) -> WhisperFolder:
    """Raises `ProviderError`, which names the file, what is wrong with it, and what to do."""
    if not folder.is_dir():
        raise ProviderError(f"{folder} is no folder; {ADVICE}")
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ProviderError(f"{folder} has {_what_else(folder)}; {ADVICE}")
    variables = _checked_weights(weights)
    config = _checked_json(folder / CONFIG)
    _checked_json(folder / TOKENIZER)
    if (folder / FEATURES).exists():
        _check_features(folder / FEATURES)
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ProviderError(f"{folder / VOCABULARIES[0]} is missing; {AGAIN}: {ADVICE}")
    _check_suppressed(folder / CONFIG, config)
    return WhisperFolder(folder, tuple(variables), _lists(config, "lang_ids"), _lists(config, "alignment_heads"))


def _check_suppressed(path: Path, config: Mapping[str, object]) -> None:
    """CTranslate2 reads beyond its memory where these are missing."""
    for key in SUPPRESSED:
        ids = config.get(key)
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            raise ProviderError(f"{path} has no list {key} of token numbers; {AGAIN}: {ADVICE}")


def _lists(config: Mapping[str, object], key: str) -> bool:
    """Whether there is a list that is not empty."""
    found = config.get(key)
    return isinstance(found, list) and bool(found)


def _what_else(folder: Path) -> str:
    if any(folder.glob("*.gguf")) or any(folder.glob("ggml-*.bin")):
        return "a model for whisper.cpp or llama.cpp"
    if any(folder.glob("*.safetensors")) or (folder / "pytorch_model.bin").exists():
        return "weights for PyTorch"
    if any(folder.rglob("*.ort")) or any(folder.rglob("*.onnx")):
        return "a model in ONNX files: use provider: moonshine if it is a Moonshine"
    return f"no {WEIGHTS}"


def _checked_weights(path: Path) -> list[Variable]:
    try:
        return read_variables(path)
    except BrokenWeights as error:
        raise ProviderError(f"{path} {error}; {AGAIN}: {ADVICE}") from error
    except OSError as error:
        raise ProviderError(f"{path} cannot be read: {error.strerror or error}") from error


def _checked_json(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise ProviderError(f"{path} is missing; {AGAIN}: {ADVICE}")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ProviderError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{path} is no JSON: {error}; {AGAIN}") from error
    if not isinstance(content, dict):
        raise ProviderError(f"{path} holds no JSON object; it belongs to another model: {ADVICE}")
    return content


def _check_features(path: Path) -> None:
    for key, value in _checked_json(path).items():
        if key in NUMBERS and not isinstance(value, int):
            raise ProviderError(f"{path}: {key} is {value!r}; it must be a whole number: {AGAIN}")
