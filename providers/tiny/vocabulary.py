"""Tokenizers of the tiny models, as llama.cpp wants them: token texts, scores and types."""

import string
from collections.abc import Iterable
from dataclasses import dataclass, field

from gguf import GGUFWriter, TokenType

WORD_START = "\u2581"
"""Begins a word in both tokenizers; "##" on continuations is what Hugging Face writes instead."""

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_WORD_JOINER = "\u2060"
_SPELLING_SCORE = -1000.0
_SCRIPT_SCORE = -2000.0


@dataclass(slots=True)
class SentencePieces:
    """A sentence-piece vocabulary: control tokens, all bytes, single characters, then whatever is added.

    llama.cpp refuses to load a vocabulary in which two tokens have the same text.
    """

    texts: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[TokenType] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str, type: TokenType = TokenType.NORMAL, score: float = 0.0) -> int:
        """Add a token and return its id. Raises `ValueError` if there is one with this text."""
        if text in self._ids:
            raise ValueError(f"the vocabulary has the token {text!r} already")
        self._ids[text] = len(self.texts)
        self.texts.append(text)
        self.scores.append(score)
        self.types.append(type)
        return self._ids[text]

    def add_spoken(self, text: str) -> int:
        """Add a token that is only ever generated; a text that is taken gets an invisible suffix."""
        while text in self._ids:
            text += _WORD_JOINER
        # No merge of characters leads to it, so that a prompt with the same words is still spelt out.
        return self.add(text, score=_SCRIPT_SCORE)

    def id(self, text: str) -> int:
        """The token's id. Raises `KeyError` if there is none."""
        return self._ids[text]

    def write(self, writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([text.encode() for text in self.texts])
        writer.add_token_scores(self.scores)
        writer.add_token_types(self.types)


def byte_token(byte: int) -> str:
    """The text of the token that stands for one byte, 0..255."""
    return f"<0x{byte:02X}>"


def sentence_pieces(control: Iterable[str]) -> SentencePieces:
    """A vocabulary that spells any text, with the given control tokens after <unk>, <s>, </s> and the bytes."""
    vocabulary = SentencePieces()
    vocabulary.add("<unk>", TokenType.UNKNOWN)
    vocabulary.add("<s>", TokenType.CONTROL)
    vocabulary.add("</s>", TokenType.CONTROL)
    for byte in range(256):
        vocabulary.add(byte_token(byte), TokenType.BYTE)
    for text in control:
        vocabulary.add(text, TokenType.CONTROL)
    for character in WORD_START + string.ascii_letters + string.digits + string.punctuation:
        vocabulary.add(character, score=_SPELLING_SCORE)
    return vocabulary


@dataclass(frozen=True, slots=True)
class WordPieces:
    """A word-piece vocabulary with BERT's special tokens, which stand in brackets."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def write(self, writer: GGUFWriter) -> None:
        """Write the tokens and the ids of the special ones. Raises `ValueError` if one of those is missing."""
        special = {text: self.texts.index(text) for text in SPECIAL_PIECES}
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("jina-v2-en")
        writer.add_token_list(self.texts)
        writer.add_token_types([TokenType.CONTROL if text in special else TokenType.NORMAL for text in self.texts])
        writer.add_token_type_count(2)
        writer.add_bos_token_id(special["[CLS]"])
        writer.add_eos_token_id(special["[SEP]"])
        writer.add_sep_token_id(special["[SEP]"])
        writer.add_pad_token_id(special["[PAD]"])
        writer.add_unk_token_id(special["[UNK]"])
        writer.add_mask_token_id(special["[MASK]"])


def word_pieces(words: Iterable[str]) -> WordPieces:
    """A vocabulary of the given words that spells any other in lower-case letters, digits and some punctuation."""
    letters, marks = string.ascii_lowercase + string.digits, ".,!?'-"
    texts = [*SPECIAL_PIECES]
    texts += (WORD_START + word for word in words)
    texts += (WORD_START + letter for letter in letters)
    texts += letters
    texts += marks
    texts += (WORD_START + mark for mark in marks)
    return WordPieces(tuple(dict.fromkeys(texts)))
