"""Embeddings: https://platform.openai.com/docs/api-reference/embeddings/create"""

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.openai.checks import (
    check_fields,
    filled,
    filled_array,
    integer_from,
    is_tokens,
    missing,
    one_of,
    required,
    wrong_type,
)
from providers.openai.shortened import Shortened
from providers.spec import SlotSpec

_FIELDS = {"dimensions": integer_from(1), "encoding_format": one_of("float", "base64")}


def translate_embeddings(body: JsonObject, slot: SlotSpec) -> Translation:
    check_fields(body, _FIELDS)
    check_input("input", required(body, "input"))
    dimensions = body.get("dimensions")
    # The engine refuses null where OpenAI takes it for the default.
    null = "encoding_format" in body and body["encoding_format"] is None
    request: JsonObject | None = body | {"encoding_format": "float"} if null else None
    return Translation(request, response=Shortened(dimensions) if isinstance(dimensions, int) else None)


def translate_native_embeddings(body: JsonObject, slot: SlotSpec) -> Translation:
    """llama.cpp's own `/embedding`, with the text in `content` or `input`."""
    check_fields(body, {"encoding_format": _FIELDS["encoding_format"]})
    name = "input" if "input" in body else "content"
    if name not in body:
        raise missing("content")
    check_input(name, body[name])
    return Translation()


def check_input(param: str, value: JsonValue) -> None:
    """A string, tokens, a list of either, or llama.cpp's objects with pictures, which are the engine's to check."""
    if isinstance(value, str):
        filled(param, value)
    elif isinstance(value, list):
        filled_array(param, value)
        if not is_tokens(value):
            for i, item in enumerate(value):
                _check_item(f"{param}[{i}]", item)
    elif not _is_prompt_with_pictures(value):
        raise wrong_type(param, "a string or an array of strings or tokens", value)


def _check_item(param: str, item: JsonValue) -> None:
    if isinstance(item, str):
        filled(param, item)
    elif isinstance(item, list) and is_tokens(item):
        filled_array(param, item)
    elif not _is_prompt_with_pictures(item):
        raise wrong_type(param, "a string or an array of tokens", item)


def _is_prompt_with_pictures(value: JsonValue) -> bool:
    return isinstance(value, dict) and "prompt_string" in value
