"""Which files an F5-TTS is loaded from. All of them are here before: the library would fetch what it misses."""

from dataclasses import dataclass
from pathlib import Path

from providers.base import ModelFiles
from providers.errors import ProviderError

VOCAB, VOCODER = "vocab", "vocoder"
ROLES = frozenset({VOCAB, VOCODER})
"""`vocab`: the characters that the model knows, a file; without it those in the model's folder, or else those of the
published models. `vocoder`: a folder with a Vocos, which makes sound of spectra."""

VOCAB_FILE, VOCOS_CONFIG, VOCOS_WEIGHTS = "vocab.txt", "config.yaml", "pytorch_model.bin"
SUFFIXES = (".safetensors", ".pt")
EXAMPLE = "hf://SWivid/F5-TTS/F5TTS_v1_Base/model_1250000.safetensors"
EXAMPLE_VOCODER = "hf://charactr/vocos-mel-24khz"
ADVICE = f"f5-tts takes the weights of an F5-TTS, such as {EXAMPLE}"
VOCODER_ADVICE = f"f5-tts takes the folder of a Vocos as companions.{VOCODER}, such as {EXAMPLE_VOCODER}"
AGAIN = "remove the model and pull it again"


@dataclass(frozen=True, slots=True)
class F5Files:
    weights: Path
    vocab: Path | None
    """None: that of the published models, which the library carries."""
    vocoder: Path

    @property
    def vocoder_config(self) -> Path:
        return self.vocoder / VOCOS_CONFIG

    @property
    def vocoder_weights(self) -> Path:
        return self.vocoder / VOCOS_WEIGHTS


def find(model: ModelFiles) -> F5Files:
    """Raises `ProviderError`, which names what is missing and says what to do."""
    weights = find_weights(model.main)
    beside = model.main / VOCAB_FILE
    vocab = model.companions.get(VOCAB, beside if beside.is_file() else None)
    if vocab is not None and not vocab.is_file():
        raise ProviderError(f"{vocab} is no file; companions.{VOCAB} is the model's {VOCAB_FILE}")
    vocoder = model.companions.get(VOCODER)
    if vocoder is None:
        raise ProviderError(f"the slot has no vocoder; {VOCODER_ADVICE}")
    for name in (VOCOS_CONFIG, VOCOS_WEIGHTS):
        if not (vocoder / name).is_file():
            raise ProviderError(f"{vocoder / name} is missing; {VOCODER_ADVICE}")
    return F5Files(weights, vocab, vocoder)


def find_weights(main: Path) -> Path:
    """The file itself, or the only one in a folder. Raises `ProviderError`."""
    if main.is_dir():
        for suffix in SUFFIXES:
            found = sorted(main.glob(f"*{suffix}"))
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(path.name for path in found)
                raise ProviderError(f"{main} has several weights: {names}; name one of them as the slot's model")
        raise ProviderError(f"{main} has no weights; {ADVICE}")
    if not main.is_file():
        raise ProviderError(f"{main} is missing; {ADVICE}")
    if main.suffix not in SUFFIXES:
        raise ProviderError(f"{main.name} is of another kind; {ADVICE}")
    return main
