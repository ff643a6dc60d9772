"""Sentences that are too long for one call of a model, cut where it is heard least. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

OPENING = 80
"""Characters; a first sentence that is longer is cut after its first clause, if that is no longer."""
SHORTEST = 16
"""Characters of a first clause, and of what follows it."""
CLOSERS = "\"'”“’‘»«›‹)\\]}」』】）》〉"
CLAUSE = re.compile(rf"(?:[,;:،؛]|\s[–—-]|—)[{CLOSERS}]*(?=\s)|[、，；：][{CLOSERS}]*")
SPACE = re.compile(r"\s+")
JOINERS = "\u200c\u200d"
VIRAMA = 9
"""The combining class of signs that join two consonants."""


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    at_clause: bool
    """Whether it ends where a clause does; of the last one, nothing is said."""


def opening(sentence: str, longest: int) -> int:
    """Where the first clause of a long sentence ends; 0: it is not worth a cut."""
    if len(sentence) <= min(OPENING, longest):
        return 0
    ends = (mark.end() for mark in CLAUSE.finditer(sentence, 0, min(OPENING, longest) + 1))
    end = next((end for end in ends if end >= min(SHORTEST, longest)), 0)
    return end if end <= longest and len(sentence) - end >= SHORTEST and _sounds(sentence[:end]) else 0


def cut(sentence: str, longest: int) -> Iterator[Part]:
    """Parts of about the same length."""
    begin = 0
    while len(sentence) - begin > longest:
        count = -(-(len(sentence) - begin) // longest)
        end, at_clause = _end(sentence, begin, longest, begin + (len(sentence) - begin) / count)
        yield Part(sentence[begin:end].strip(), at_clause)
        while end < len(sentence) and sentence[end].isspace():
            end += 1
        begin = end
    if begin < len(sentence):
        yield Part(sentence[begin:].strip(), False)


def _end(sentence: str, begin: int, longest: int, wanted: float) -> tuple[int, bool]:
    least = begin + longest // 3
    for kind in (CLAUSE, SPACE):
        places = [
            place.end() if kind is CLAUSE else place.start()
            for place in kind.finditer(sentence, begin, min(begin + longest + 1, len(sentence)))
        ]
        fitting = [place for place in places if least < place <= begin + longest]
        if fitting:
            return min(fitting, key=lambda place: abs(place - wanted)), kind is CLAUSE
    return _grapheme_end(sentence, begin, min(round(wanted), begin + longest)), False


def _grapheme_end(sentence: str, begin: int, wanted: int) -> int:
    end = max(wanted, begin + 1)
    while end > begin and _within_grapheme(sentence, end):
        end -= 1
    if end > begin:
        return end
    end = begin + 1
    while end < len(sentence) and _within_grapheme(sentence, end):
        end += 1
    return end


def _within_grapheme(sentence: str, at: int) -> bool:
    """Whether what a reader takes for one character would be cut: https://www.unicode.org/reports/tr29/"""
    before, after = sentence[at - 1], sentence[at]
    if unicodedata.category(after)[0] == "M" or after in JOINERS or after in "ﾞﾟ":
        return True
    if before == "\u200d" or unicodedata.combining(before) == VIRAMA:
        return True
    return "\u1160" <= after <= "\u11ff" and ("\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3")


def _sounds(text: str) -> bool:
    return any(character.isalnum() for character in text)
