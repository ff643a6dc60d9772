"""A text without what cannot be spoken, and its lines: which of them belong together. Pure."""

import re
import unicodedata
from collections.abc import Iterator

MOST_MARKS = 8
"""Combining marks on one character. Scripts need three or four; a text may stack thousands."""
LONG_LINE = 40
"""Columns, of which an ideograph takes two; a line that is shorter was not broken because it was full."""
JOINERS = "\u200c\u200d"
"""Within words of some scripts they are letters' shapes."""

EMOJI = re.compile(
    "(?:[\u2190-\u21ff\u2300-\u23ff\u25a0-\u2775\u2794-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001faff]"
    "[\u200d\ufe0e\ufe0f\u20e3]*)+"
)
"""Mathematical operators are none: without its minus a number is another."""
KEYCAP = re.compile("[\ufe0e\ufe0f\u20e3]+")
EMPHASIS = re.compile(r"(?<![\w*])\*+(?=[^\s*])|(?<=[^\s*])\*+(?![\w*])")
"""Of Markdown. Phonemizers say `asterisk`, which is right between numbers."""
BLANK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
MARKER = re.compile(r"\s*(?:(?:[-*+•‣◦▪–—>]|#{1,6})\s+)*")
"""Of a list's item, a heading or a quotation."""
ITEM = re.compile(r"\s*(?:(?:[-*+•‣◦▪–—>]|#{1,6})\s|\||\(?(?:\d{1,3}|[A-Za-z])[.)]\s)")
HEADING = re.compile(r"\s*#{1,6}\s")
ENDS = re.compile(r"[.!?…:;。！？｡।॥؟۔։።][\"'”“’‘»«)\]」』）]*\s*\Z")


def cleaned(text: str) -> str:
    """Emoji become spaces; marks of emphasis, and what else is no character of a text, are removed."""
    text = re.sub("\r\n?|\u0085|\u2028", "\n", text)
    text = re.sub("[\u2029\f\v]", "\n\n", text)
    plain = KEYCAP.sub("", EMOJI.sub(" ", "".join(_characters(text))))
    return EMPHASIS.sub("", plain)


def _characters(text: str) -> Iterator[str]:
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        if character == "\n" or character in JOINERS:
            yield character
        elif category[0] == "Z" or character == "\t":
            yield " "
        elif category[0] != "C" and marks <= MOST_MARKS:
            yield character


def paragraphs(text: str) -> Iterator[list[str]]:
    """Each as its blocks: lines that are no continuation of one another."""
    for paragraph in BLANK.split(text):
        if blocks := list(_blocks(paragraph)):
            yield blocks


def _blocks(paragraph: str) -> Iterator[str]:
    block: list[str] = []
    before = ""
    for line in paragraph.split("\n"):
        if block and not _goes_on(before, line):
            yield _joined(block)
            block = []
        words = " ".join(MARKER.sub("", line, count=1).split())
        if words:
            block.append(words)
            before = line
    if block:
        yield _joined(block)


def _joined(lines: list[str]) -> str:
    """With spaces, but where the script has none."""
    whole = ""
    for line in lines:
        spaced = whole and not (_unspaced(whole[-1]) and _unspaced(line[0]))
        whole += f" {line}" if spaced else line
    return whole


def _goes_on(before: str, line: str) -> bool:
    """Whether a line was only broken because it was full."""
    if ITEM.match(line) or HEADING.match(before) or ENDS.search(before):
        return False
    return line.lstrip()[:1].islower() or len(before) + sum(map(_wide, before)) >= LONG_LINE


def _unspaced(character: str) -> bool:
    """Korean is as wide as Chinese, and has spaces."""
    return _wide(character) and not "\uac00" <= character <= "\ud7a3"


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
