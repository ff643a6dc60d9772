"""The vocabulary of the tiny Moonshine: SentencePiece's special tokens and bytes, then the words, then silence."""

from providers.tiny.tones import ALPHABET, Alphabet

UNKNOWN, START, END = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")
FIRST_BYTE = len(SPECIAL)
FIRST_WORD = FIRST_BYTE + 256
SILENCE = "<sil>"
"""Has the last id. A token in angle brackets is not part of the text."""
WORD_START = "▁"


def size(alphabet: Alphabet) -> int:
    """Tokens in all."""
    return FIRST_WORD + len(alphabet.words) + 1


def word_pieces(alphabet: Alphabet) -> list[str]:
    """The words' tokens, the first of which has the id `FIRST_WORD`."""
    return [WORD_START + word for word in alphabet.words]


def packed_vocabulary(alphabet: Alphabet = ALPHABET) -> bytes:
    """`tokenizer.bin` of libmoonshine: each token's length, which takes one byte below 128, and its bytes.

    Source: core/bin-tokenizer.cpp of github.com/moonshine-ai/moonshine.
    """
    tokens = [text.encode() for text in SPECIAL]
    tokens += (bytes([byte]) for byte in range(256))
    tokens += (piece.encode() for piece in word_pieces(alphabet))
    tokens.append(SILENCE.encode())
    return b"".join(bytes([len(token)]) + token for token in tokens)
