"""llama.cpp's own `/tokenize` and `/detokenize`.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md#post-tokenize-tokenize-a-given-text
"""

from providers.base import JsonObject, Translation
from providers.openai.checks import array, boolean, check_fields, integer_from, required, wrong_type
from providers.spec import SlotSpec

_FLAGS = {"add_special": boolean, "parse_special": boolean, "with_pieces": boolean}
_UNTOUCHED = Translation()


def translate_tokenize(body: JsonObject, slot: SlotSpec) -> Translation:
    """`content` is a string, or a list of strings and tokens."""
    check_fields(body, _FLAGS)
    content = required(body, "content")
    if isinstance(content, list):
        for i, piece in enumerate(content):
            if isinstance(piece, bool) or not isinstance(piece, str | int):
                raise wrong_type(f"content[{i}]", "a string or a token", piece)
    elif not isinstance(content, str):
        raise wrong_type("content", "a string or an array of strings and tokens", content)
    return _UNTOUCHED


def translate_detokenize(body: JsonObject, slot: SlotSpec) -> Translation:
    token = integer_from(0)
    for i, value in enumerate(array("tokens", required(body, "tokens"))):
        token(f"tokens[{i}]", value)
    return _UNTOUCHED
