"""What of a request tells which engine has computed its beginning already. Pure.

An engine keeps keys and values of prompts that it has read, and need not read a beginning again that it has seen. What
it really sees is tokens of a template that is its own affair; but where two conversations agree in what their messages
say, they agree in those, too. The hashes are CRC-32, since long prompts cost time here; if two agree by accident, an
engine reads what another one has read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any, Final
from zlib import crc32

from pydantic_core import to_json

from providers.base import JsonObject
from providers.capabilities import Operation

CONTINUED: Final = frozenset(
    {Operation.CHAT, Operation.COMPLETION, Operation.NATIVE_COMPLETION, Operation.RESPONSES, Operation.MESSAGES}
)
"""Operations whose next request often begins as the last one did."""
STEP_BYTES, STEP_SHARE = 128, 8
LONGEST_BYTES = 2**32


def _marked() -> Iterator[int]:
    """Each an eighth further than the one before, so that long prompts, too, have some dozens of marks."""
    return takewhile(
        lambda at: at < LONGEST_BYTES,
        accumulate(iter(int, 1), lambda at, _: at + max(STEP_BYTES, at // STEP_SHARE), initial=STEP_BYTES),
    )


MARKS_AT: Final = tuple(_marked())
"""Bytes from the prompt's beginning: where its marks stand."""
OPENING_MARK = 3
"""In a prompt without messages: what comes before this mark is taken for its opening."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """`marks`: for each mark a hash of everything before it. `size` in bytes. `opening`: a hash of what later requests
    of the same conversation have in common with this one and other conversations rarely do: all up to the end of the
    user's first message."""

    marks: tuple[int, ...]
    size: int
    opening: int


def prompt_of(payload: JsonObject) -> Prompt | None:
    """None for a request that says nothing that can be told."""
    marks: list[int] = []
    size, hashed, opening = 0, 0, None
    for piece, opens in _pieces(payload):
        rest = memoryview(piece)
        while (left := MARKS_AT[len(marks)] - size) <= len(rest):
            hashed = crc32(rest[:left], hashed)
            marks.append(hashed)
            size, rest = size + left, rest[left:]
        hashed = crc32(rest, hashed)
        size += len(rest)
        if opens and opening is None:
            opening = hashed
    if not size:
        return None
    if opening is None:
        opening = marks[OPENING_MARK] if len(marks) > OPENING_MARK else hashed
    return Prompt(tuple(marks), size, opening)


def _pieces(payload: JsonObject) -> Iterator[tuple[bytes, bool]]:
    """What it says, in order, and whether a conversation is told by what has been said so far."""
    for name in ("system", "instructions"):
        if payload.get(name):
            yield to_json(payload[name]), False
    said: Any = payload.get("messages", payload.get("input", payload.get("prompt")))
    if isinstance(said, str):
        yield said.encode(), "input" in payload
    elif isinstance(said, list):
        for message in said:
            yield to_json(message), isinstance(message, dict) and message.get("role") == "user"
