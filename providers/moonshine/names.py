"""The names of a Moonshine model's files, in each of its layouts. Pure.

https://github.com/moonshine-ai/moonshine/blob/main/docs/ort-only-models.md
"""

from enum import IntEnum
from types import MappingProxyType

CONFIG = "streaming_config.json"
TOKENIZER = "tokenizer.bin"
ENCODER, DECODER = "encoder_model.ort", "decoder_model_merged.ort"
STREAMING_ENCODER = "encoder.ort"
FRONTENDS = (("frontend.ort",), ("frontend.model.ort", "frontend.weights.ort"))
"""A streaming model has the first, or both of the second."""

ONNX_FOLDER = "onnx"
ONNX_ENCODER, ONNX_DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"
ONNX_TOKENIZER, ONNX_CONFIG = "tokenizer.json", "config.json"


class Architecture(IntEnum):
    """The library's numbers. It treats all streaming models alike: their sizes are in their own configuration."""

    TINY = 0
    BASE = 1
    STREAMING = 2

    @property
    def files(self) -> tuple[str, ...]:
        """What it needs, the frontend of a streaming model apart."""
        if self is Architecture.STREAMING:
            return (STREAMING_ENCODER, "adapter.ort", "cross_kv.ort", "decoder_kv.ort", CONFIG, TOKENIZER)
        return (ENCODER, DECODER, TOKENIZER)

    @property
    def word_files(self) -> tuple[str, ...]:
        """Any of these tells when words are spoken; the library takes the first that is there."""
        if self is Architecture.STREAMING:
            return ("decoder_kv_with_attention.ort",)
        return ("decoder_with_attention.ort", "alignment_model.ort")


LAYERS = MappingProxyType({6: Architecture.TINY, 8: Architecture.BASE})
"""Layers of the decoder, by which the library tells them apart as well."""

ORT_ROLES = MappingProxyType(
    {
        name.removesuffix(".ort").removesuffix(".json").removesuffix(".bin").replace(".", "_"): name
        for name in (
            *("adapter.ort", "alignment_model.ort", "cross_kv.ort", "decoder_kv.ort", "decoder_kv_with_attention.ort"),
            *(DECODER, "decoder_with_attention.ort", *FRONTENDS[0], *FRONTENDS[1], CONFIG, TOKENIZER),
        )
    }
)
"""Companions of a model in single files, beside its encoder, and the name that the library expects."""

ONNX_ROLES = MappingProxyType(
    {
        "decoder_model_merged": f"{ONNX_FOLDER}/{ONNX_DECODER}",
        "tokenizer": ONNX_TOKENIZER,
        "config": ONNX_CONFIG,
    }
)
ROLES = frozenset(ORT_ROLES) | frozenset(ONNX_ROLES)
