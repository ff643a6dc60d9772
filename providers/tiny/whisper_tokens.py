"""The vocabulary of the tiny Whisper: bytes and its few words, then Whisper's own special tokens in Whisper's order.

Sources: whisper/tokenizer.py of github.com/openai/whisper, and what CTranslate2 looks for in a vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_CODES = """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr
    bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn
    yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su
"""
LANGUAGES = tuple(_CODES.split())
"""ISO 639 codes."""
END, START = "<|endoftext|>", "<|startoftranscript|>"
TRANSLATE, TRANSCRIBE = "<|translate|>", "<|transcribe|>"
START_OF_LM, START_OF_PREVIOUS, NO_SPEECH = "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"
NO_TIMESTAMPS = "<|notimestamps|>"
SPACE = "Ġ"
"""How a vocabulary of bytes writes a space."""
_MULTILINGUAL = ""
"""CTranslate2 takes a model for one of many languages if it has this token."""
_TIMESTAMPS = 1501


@dataclass(frozen=True, slots=True)
class WhisperTokens:
    """All tokens in the order of their ids, and the tokenizer that reads text into them."""

    texts: tuple[str, ...]
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def id(self, text: str) -> int:
        """Raises `ValueError` if there is no such token."""
        return self.texts.index(text)


def whisper_tokens(words: Sequence[str], multilingual: bool) -> WhisperTokens:
    """A vocabulary that has the words, each after a space, as one token each, and spells everything else in bytes."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in words:
        merges += _merges(SPACE + word)
    pieces += dict.fromkeys(left + right for left, right in merges)
    if multilingual:
        pieces.append(_MULTILINGUAL)
    model = models.BPE({piece: id for id, piece in enumerate(pieces)}, list(dict.fromkeys(merges)))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special, times = _special(), [timestamp(0.02 * step) for step in range(_TIMESTAMPS)]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in times])
    return WhisperTokens((*pieces, *special, *times), tokenizer)


def timestamp(seconds: float) -> str:
    return f"<|{seconds:.2f}|>"


def language_token(language: str) -> str:
    return f"<|{language}|>"


def _special() -> list[str]:
    languages = [language_token(language) for language in LANGUAGES]
    return [
        END,
        START,
        *languages,
        TRANSLATE,
        TRANSCRIBE,
        START_OF_LM,
        START_OF_PREVIOUS,
        NO_SPEECH,
        NO_TIMESTAMPS,
    ]


def _merges(piece: str) -> list[tuple[str, str]]:
    return [(piece[:end], piece[end]) for end in range(1, len(piece))]
