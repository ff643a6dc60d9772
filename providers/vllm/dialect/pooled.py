"""Embeddings and reranking."""

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.openai.checks import check_fields, filled, filled_array, integer_from, is_tokens, one_of, required
from providers.openai.rerank import ranking
from providers.openai.shortened import Shortened
from providers.spec import SlotSpec

_EMBEDDINGS = {"dimensions": integer_from(1), "encoding_format": one_of("float", "base64")}


def translate_embeddings(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/embeddings/create"""
    check_fields(body, _EMBEDDINGS)
    _check_input("input", required(body, "input"))
    dimensions = body.get("dimensions")
    # vLLM shortens the vectors of some models alone, and refuses null where OpenAI takes it for the default.
    left_out = {name for name in _EMBEDDINGS if name in body and (name == "dimensions" or body[name] is None)}
    request = {name: value for name, value in body.items() if name not in left_out}
    return Translation(
        request if left_out else None, response=Shortened(dimensions) if isinstance(dimensions, int) else None
    )


def _check_input(param: str, value: JsonValue) -> None:
    """A string, tokens, or a list of either; chats, which vLLM embeds too, are the engine's to check."""
    if isinstance(value, list):
        filled_array(param, value)
        if not is_tokens(value):
            for i, item in enumerate(value):
                _check_input(f"{param}[{i}]", item)
    elif not isinstance(value, dict):
        filled(param, value)


def translate_rerank(body: JsonObject, slot: SlotSpec) -> Translation:
    """The model's own scores unless others are asked for, as with other engines."""
    wanted = ranking(body)
    return Translation(wanted.request | {"use_activation": wanted.normalize}, response=wanted.answer(logits=False))
