"""The models that there are: part of model_list.json at 0.9.45, or the file that FLM_CONFIG_PATH names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.emulators.flm.settings import catalogue_file

Record = dict[str, object]
ASR, EMBED, FALLBACK, NO_MODEL = "whisper-v3:turbo", "embed-gemma:300m", "llama3.2:1b", "model-faker"
FILES = ["config.json", "model.q4nx", "tokenizer.json", "tokenizer_config.json"]
_SITE = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Model:
    """One of `family:size`. `entry` is what model_list.json says of it."""

    tag: str
    entry: Record

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def files(self) -> list[str]:
        files = self.entry["files"]
        assert isinstance(files, list)
        return [str(file) for file in files]

    @property
    def details(self) -> Record:
        details = self.entry["details"]
        assert isinstance(details, dict)
        return details

    @property
    def speaks(self) -> bool:
        """Whether it is a language model, which a chat can load."""
        return self.tag not in (ASR, EMBED)

    def number(self, key: str) -> int:
        return int(str(self.entry.get(key, 0)))


def _model(tag: str, name: str, megabytes: int, context: int, labels: tuple[str, ...] = (), **more: object) -> Model:
    family, _, size = tag.partition(":")
    details = {
        "format": "NPU2",
        "family": family,
        "think": "reasoning" in labels,
        "think_toggleable": family == "qwen3",
        "parameter_size": size.upper(),
        "quantization_level": "Q4_1",
    }
    entry: Record = {
        "name": name,
        "url": f"{_SITE}/FastFlowLM/{name}",
        "file_url": f"{_SITE}/api/models/FastFlowLM/{name}/tree/main",
        "size": megabytes * 1_000_000,
        "flm_min_version": "0.9.22",
        "files": FILES,
        "default_context_length": context,
        "max_prefill_len": 4096,
        "details": details,
        "footprint": round(megabytes / 1000, 2),
        "label": list(labels),
        **more,
    }
    return Model(tag, entry)


_KNOWN = (
    _model("deepseek-r1:8b", "DeepSeek-R1-Distill-Llama-8B-NPU2", 8000, 16384, ("reasoning",)),
    _model(EMBED, "Embedding-Gemma-300M-NPU2", 300, 2048, ("embeddings",)),
    _model("gemma3:1b", "Gemma3-1B-NPU2", 1000, 32768),
    _model("gemma3:4b", "Gemma3-4B-NPU2", 4000, 65536, ("vision",), vlm=True),
    _model("gemma4-it:e2b", "Gemma4-E2B-IT-NPU2", 4000, 32768, ("vision", "tool-calling"), vlm=True),
    _model(FALLBACK, "Llama-3.2-1B-NPU2", 1000, 131072),
    _model("llama3.2:3b", "Llama-3.2-3B-NPU2", 3000, 65536),
    _model("qwen3:0.6b", "Qwen3-0.6B-NPU2", 684, 32768, ("reasoning", "tool-calling")),
    _model("qwen3:1.7b", "Qwen3-1.7B-NPU2", 1700, 32768, ("reasoning", "tool-calling")),
    _model("qwen3:4b", "Qwen3-4B-NPU2", 4000, 32768, ("reasoning", "tool-calling")),
    _model("qwen3.5:2b", "Qwen3.5-2B-NPU2", 2000, 32768, ("vision", "reasoning", "tool-calling"), vlm=True),
    _model(ASR, "Whisper-V3-Turbo-NPU2", 1000, 448, ("audio", "realtime-transcription", "transcription"), asr=True),
)


class Catalogue:
    """Models in the order of their families, then of their sizes."""

    def __init__(self, models: tuple[Model, ...]) -> None:
        ordered = sorted(models, key=lambda model: tuple(model.tag.split(":", 1)))
        self._models = {model.tag: model for model in ordered}

    @property
    def all(self) -> list[Model]:
        return list(self._models.values())

    @property
    def speaking(self) -> list[Model]:
        """What the server lists: all language models of the catalogue, here or not."""
        return [model for model in self.all if model.speaks]

    def find(self, tag: str) -> Model | None:
        """By `family:size` or `family`, whose first size is meant then; a prefix with a slash is cut off."""
        wanted = tag.rpartition("/")[2]
        if wanted in self._models:
            return self._models[wanted]
        return next((model for model in self.all if model.tag.partition(":")[0] == wanted), None)


def catalogue() -> Catalogue:
    file = catalogue_file()
    return Catalogue(_of_file(file) if file is not None and file.exists() else _KNOWN)


def _of_file(file: Path) -> tuple[Model, ...]:
    """`{"models": {family: {size: entry}}}`."""
    families: Mapping[str, Mapping[str, Record]] = json.loads(file.read_text())["models"]
    return tuple(
        Model(f"{family}:{size}", entry) for family, sizes in families.items() for size, entry in sizes.items()
    )
