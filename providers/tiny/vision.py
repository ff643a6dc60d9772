"""A tiny vision encoder (mmproj): an image of 28x28 pixels becomes four tokens of the chat model."""

from pathlib import Path

from gguf import GGUFWriter, LlamaFileType

from providers.tiny.files import gguf_file
from providers.tiny.weights import Draw, Tensors, add_tensors, linear, norm, random_weights, zeros

IMAGE_SIZE = 28
PATCH_SIZE = 14
_LENGTH = 32
_FEED_FORWARD_LENGTH = 2 * _LENGTH
_LAYERS = 2
_HEADS = 2
_SEED = 0


def make_projector(path: Path, chat_embedding_length: int) -> None:
    """Make the projector of a chat model with that embedding length. Raises `OSError` if it cannot be written."""
    draw = random_weights(_SEED)
    with gguf_file(path, "clip") as writer:
        writer.add_name("tiny-mmproj")
        _write_shape(writer, chat_embedding_length)
        add_tensors(writer, _ends(draw, chat_embedding_length))
        for layer in range(_LAYERS):
            add_tensors(writer, _layer(draw, f"v.blk.{layer}."))


def _write_shape(writer: GGUFWriter, chat_embedding_length: int) -> None:
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_clip_has_vision_encoder(True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_projection_dim(chat_embedding_length)
    writer.add_vision_image_size(IMAGE_SIZE)
    writer.add_vision_patch_size(PATCH_SIZE)
    writer.add_vision_embedding_length(_LENGTH)
    writer.add_vision_feed_forward_length(_FEED_FORWARD_LENGTH)
    writer.add_vision_block_count(_LAYERS)
    writer.add_vision_head_count(_HEADS)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)


def _ends(draw: Draw, chat_embedding_length: int) -> Tensors:
    """What comes before and after the layers: patches and positions in, two matrices out."""
    patches = (IMAGE_SIZE // PATCH_SIZE) ** 2
    return {
        "v.patch_embd.weight": draw(_LENGTH, 3, PATCH_SIZE, PATCH_SIZE),
        "v.position_embd.weight": draw(patches + 1, _LENGTH),
        "v.class_embd": zeros(_LENGTH),
        **norm("v.pre_ln", _LENGTH),
        **linear(draw, "mm.0", _LENGTH, _LENGTH),
        **linear(draw, "mm.2", chat_embedding_length, _LENGTH),
    }


def _layer(draw: Draw, prefix: str) -> Tensors:
    return {
        **linear(draw, f"{prefix}attn_q", _LENGTH, _LENGTH),
        **linear(draw, f"{prefix}attn_k", _LENGTH, _LENGTH),
        **linear(draw, f"{prefix}attn_v", _LENGTH, _LENGTH),
        **linear(draw, f"{prefix}attn_out", _LENGTH, _LENGTH),
        **norm(f"{prefix}ln1", _LENGTH),
        **norm(f"{prefix}ln2", _LENGTH),
        **linear(draw, f"{prefix}ffn_up", _FEED_FORWARD_LENGTH, _LENGTH),
        **linear(draw, f"{prefix}ffn_down", _LENGTH, _FEED_FORWARD_LENGTH),
    }
