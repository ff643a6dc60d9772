"""What the head of each variable in a `model.bin` tells, without its values.

The format: python/ctranslate2/specs/model_spec.py of github.com/OpenNMT/CTranslate2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

VERSION = 6
SPECIFICATION = "WhisperSpec"
MOST_DIMENSIONS = 8


class BrokenWeights(Exception):
    """The message ends a sentence that begins with the file's path."""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it is kept in a compute type's small numbers: those of linear layers and embeddings are."""
        return len(self.shape) == 2 and self.name.endswith("/weight")


def read_variables(path: Path) -> list[Variable]:
    """Of a Whisper, complete as far as the file's length tells. Takes milliseconds.

    Raises `BrokenWeights` for anything else, OSError if the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            _check_head(file)
            found = list(_variables(file, size))
            _skip_aliases(file)
        except struct.error:
            raise BrokenWeights("is cut off") from None
    return found


def _check_head(file: BinaryIO) -> None:
    head = file.read(4)
    if head.startswith(b"GGUF"):
        raise BrokenWeights("is a GGUF file, whatever its name")
    if head == b"vers":
        raise BrokenWeights("is a pointer of Git LFS, not the file itself")
    (version,) = struct.unpack("<I", head)
    if version != VERSION:
        raise BrokenWeights("is not in the format of CTranslate2")
    name = _text(file)
    if name != SPECIFICATION:
        raise BrokenWeights(f"holds another kind of model ({name[:40]})")
    _number(file, "<I")


def _variables(file: BinaryIO, size: int) -> Iterator[Variable]:
    for _ in range(_number(file, "<I")):
        name = _text(file)
        dimensions = _number(file, "<B")
        if dimensions > MOST_DIMENSIONS:
            raise BrokenWeights("is damaged")
        shape = tuple(_number(file, "<I") for _ in range(dimensions))
        _number(file, "<B")
        end = file.seek(_number(file, "<I"), 1)
        if end > size:
            raise BrokenWeights("is cut off")
        yield Variable(name, shape)


def _skip_aliases(file: BinaryIO) -> None:
    for _ in range(_number(file, "<I")):
        _text(file)
        _text(file)


def _number(file: BinaryIO, kind: str) -> int:
    (number,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
    return int(number)


def _text(file: BinaryIO) -> str:
    """Its length counts the zero byte at its end."""
    length = _number(file, "<H")
    content = file.read(length)
    if len(content) < length:
        raise BrokenWeights("is cut off")
    return content.rstrip(b"\0").decode(errors="replace")
