"""`/tokenize` and `/detokenize` in llama.cpp's form, which this server shows for every engine, or in vLLM's own.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md#post-tokenize-tokenize-a-given-text
"""

from pydantic import JsonValue

from providers.base import JsonObject, Translation
from providers.errors import UnsupportedRequest
from providers.openai.checks import array, boolean, check_fields, integer_from, required, text
from providers.spec import SlotSpec

_FLAGS = {"add_special": boolean, "parse_special": boolean, "with_pieces": boolean}
_OWN = ("prompt", "messages")


def translate_tokenize(body: JsonObject, slot: SlotSpec) -> Translation:
    if "content" not in body and any(name in body for name in _OWN):
        return Translation()
    check_fields(body, _FLAGS)
    content = text("content", required(body, "content"))
    if body.get("with_pieces"):
        raise UnsupportedRequest(
            "'with_pieces' is not supported: this engine knows tokens by their ids.", "with_pieces"
        )
    if body.get("parse_special") is False:
        raise UnsupportedRequest("'parse_special' cannot be false: this engine always reads them.", "parse_special")
    request: JsonObject = {
        "model": body.get("model"),
        "prompt": content,
        "add_special_tokens": body.get("add_special") is True,
    }
    return Translation(request, response=_tokens)


def translate_detokenize(body: JsonObject, slot: SlotSpec) -> Translation:
    token = integer_from(0)
    for i, value in enumerate(array("tokens", required(body, "tokens"))):
        token(f"tokens[{i}]", value)
    return Translation(response=_content)


def _tokens(answer: JsonValue) -> JsonValue:
    return {"tokens": answer.get("tokens") if isinstance(answer, dict) else []}


def _content(answer: JsonValue) -> JsonValue:
    return {"content": answer.get("prompt") if isinstance(answer, dict) else ""}
