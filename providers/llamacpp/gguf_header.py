"""The metadata at the head of a GGUF file, read without its tensors or vocabulary.

The `gguf` package maps the file and makes an array of every token, which takes seconds for a large vocabulary.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
LONGEST_TEXT = 1 << 20
LONGEST_ARRAY = 4096
"""Elements; longer arrays are vocabularies, and are skipped."""
HEADER_LIMIT = 32 << 20
"""Bytes; a header that claims to be longer is broken."""

STRING, ARRAY = 8, 9
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""struct's letters for the types of values."""

Value = int | float | bool | str | tuple[int | float | bool, ...]


class BrokenHeader(ValueError):
    """The file is no GGUF file, or its header makes no sense."""


def read_metadata(path: Path) -> Mapping[str, Value]:
    """Every key that describes the model's shape. Raises `OSError` or `BrokenHeader`."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BrokenHeader("no GGUF file")
        version, _, count = _unpack(file, "IQQ")
        if version not in VERSIONS:
            raise BrokenHeader(f"version {version}")
        found: dict[str, Value] = {}
        for _ in range(int(count)):
            _skip(file, 0)
            if not (key := _text(file)):
                raise BrokenHeader("a key without a name")
            # The vocabulary stands behind the model's shape, and its strings would all have to be walked.
            if key.startswith("tokenizer.") and f"{found.get('general.architecture')}.block_count" in found:
                break
            value = _value(file, int(_unpack(file, "I")[0]))
            if value is not None:
                found[key] = value
    return found


def _value(file: BinaryIO, kind: int) -> Value | None:
    if kind == STRING:
        return _text(file)
    if kind == ARRAY:
        element, length = map(int, _unpack(file, "IQ"))
        return _array(file, element, length)
    return _unpack(file, _format(kind))[0]


def _array(file: BinaryIO, kind: int, length: int) -> Value | None:
    """None for texts and for long ones."""
    if kind == STRING:
        for _ in range(length):
            _skip(file, int(_unpack(file, "Q")[0]))
        return None
    letter = _format(kind)
    if length > LONGEST_ARRAY:
        _skip(file, length * struct.calcsize(letter))
        return None
    return _unpack(file, letter * length)


def _format(kind: int) -> str:
    if kind not in FORMATS:
        raise BrokenHeader(f"a value of type {kind}")
    return FORMATS[kind]


def _text(file: BinaryIO) -> str:
    length = int(_unpack(file, "Q")[0])
    if length > LONGEST_TEXT:
        raise BrokenHeader(f"a text of {length} bytes")
    return file.read(length).decode("utf-8", "replace")


def _skip(file: BinaryIO, size: int) -> None:
    """Refuses to go beyond the limit: what a broken file tells of its lengths must not cost minutes."""
    if file.tell() + size > HEADER_LIMIT:
        raise BrokenHeader(f"longer than {HEADER_LIMIT} bytes")
    file.seek(size, 1)


def _unpack(file: BinaryIO, letters: str) -> tuple[int | float | bool, ...]:
    data = file.read(struct.calcsize(f"<{letters}"))
    try:
        return struct.unpack(f"<{letters}", data)
    except struct.error as error:
        raise BrokenHeader("it ends too early") from error
