"""How large a network its weights are for, by their names and shapes. Pure.

The published models differ in size, and their folders on the Hub do not tell it:
https://github.com/SWivid/F5-TTS/tree/main/src/f5_tts/configs
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

BANDS = 100
"""Of the spectrum."""
Shapes = Mapping[str, tuple[int, ...]]

_BLOCK = re.compile(r"transformer\.transformer_blocks\.(\d+)\.")
_TEXT_BLOCK = re.compile(r"transformer\.text_embed\.text_blocks\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the library's `DiT` is made with, beside what the weights do not tell."""

    dim: int
    depth: int
    heads: int
    dim_head: int
    ff_mult: int
    text_dim: int
    text_num_embeds: int
    conv_layers: int
    qk_norm: str | None
    long_skip_connection: bool


def shape_of(shapes: Shapes) -> Shape:
    """Raises ValueError, which says what is missing."""
    dim, inputs = _matrix(shapes, "transformer.input_embed.proj.weight")
    known, text_dim = _matrix(shapes, "transformer.text_embed.text_embed.weight")
    if inputs != 2 * BANDS + text_dim:
        raise ValueError(f"its spectra have {(inputs - text_dim) / 2:g} bands, not {BANDS}")
    inner, _ = _matrix(shapes, "transformer.transformer_blocks.0.attn.to_q.weight")
    wide, _ = _matrix(shapes, "transformer.transformer_blocks.0.ff.ff.0.0.weight")
    dim_head = 2 * _size(shapes, "transformer.rotary_embed.inv_freq")
    return Shape(
        dim=dim,
        depth=_count(shapes, _BLOCK),
        heads=inner // dim_head,
        dim_head=dim_head,
        ff_mult=wide // dim,
        text_dim=text_dim,
        text_num_embeds=known - 1,
        conv_layers=_count(shapes, _TEXT_BLOCK),
        qk_norm="rms_norm" if "transformer.transformer_blocks.0.attn.q_norm.weight" in shapes else None,
        long_skip_connection="transformer.long_skip_connection.weight" in shapes,
    )


def _matrix(shapes: Shapes, name: str) -> tuple[int, int]:
    rows, columns = _found(shapes, name, 2)
    return rows, columns


def _size(shapes: Shapes, name: str) -> int:
    (size,) = _found(shapes, name, 1)
    return size


def _found(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    shape = shapes.get(name, ())
    if len(shape) != dimensions or 0 in shape:
        raise ValueError(f"it has no {name}")
    return shape


def _count(shapes: Shapes, numbered: re.Pattern[str]) -> int:
    return len({match[1] for name in shapes if (match := numbered.match(name))})
