"""A text as the sentences that are spoken one after the other. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from providers.tts.sentences_cuts import cut, opening
from providers.tts.sentences_lines import cleaned, paragraphs
from providers.tts.sentences_stops import split


class Pause(IntEnum):
    """What follows a piece, from short to long."""

    NONE = 0
    """The piece was cut within a clause."""
    CLAUSE = 1
    SENTENCE = 2
    PARAGRAPH = 3


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    pause: Pause


def speakable(text: str) -> bool:
    """Whether there is a letter or a digit of any script in it."""
    return any(character.isalnum() for character in text)


def sentences(text: str, longest: int) -> list[Piece]:
    """Every letter and digit of `text` in its order; control characters, emoji, and what only marks lists and headings
    are left out. None is longer than `longest` characters, unless a single grapheme is. Empty: nothing is speakable."""
    found: list[Piece] = []
    for sentence in _whole(cleaned(text)):
        if speakable(sentence.text):
            found.extend(_pieces(sentence, longest, first=not found))
        elif found:
            found[-1] = replace(found[-1], pause=max(found[-1].pause, sentence.pause))
    return found


def _whole(text: str) -> Iterator[Piece]:
    cased = any(character.isupper() for character in text)
    for paragraph in paragraphs(text):
        whole = [sentence for block in paragraph for sentence in split(block, cased)]
        for number, sentence in enumerate(whole, 1):
            yield Piece(sentence, Pause.SENTENCE if number < len(whole) else Pause.PARAGRAPH)


def _pieces(sentence: Piece, longest: int, first: bool) -> Iterator[Piece]:
    """Whoever waits for the first one hears its first clause sooner."""
    rest = sentence.text
    if first and 0 < (end := opening(rest, longest)) < len(rest):
        yield Piece(rest[:end].strip(), Pause.CLAUSE)
        rest = rest[end:].strip()
    parts = [part for part in cut(rest, longest) if speakable(part.text)]
    for part in parts[:-1]:
        yield Piece(part.text, Pause.CLAUSE if part.at_clause else Pause.NONE)
    if parts:
        yield Piece(parts[-1].text, sentence.pause)
