"""Embeddings by FastFlowLM's one model, EmbeddingGemma: https://ai.google.dev/gemma/docs/embeddinggemma/model_card

It embeds all texts as queries of a search, and cuts each after 2048 tokens without saying so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError

from providers.base import JsonObject, Translation
from providers.errors import EngineError, UnsupportedRequest
from providers.flm.dialect.usage import estimated_tokens
from providers.flm.roles import EMBEDDING
from providers.openai.checks import (
    array_up_to,
    check_fields,
    filled,
    filled_array,
    integer,
    is_tokens,
    one_of,
    required,
    wrong_type,
)
from providers.openai.vectors import Vector, as_vector, packed, shortened
from providers.spec import SlotSpec

TRAINED_FOR = (768, 512, 256, 128)
"""Numbers after which its vectors may be cut."""
MOST_TOKENS = 2048
"""Of a text; what comes after is not embedded."""
MOST_TEXTS = 2048
"""In a request, as OpenAI has it."""
_some = array_up_to(MOST_TEXTS)


def translate_embeddings(body: JsonObject, slot: SlotSpec) -> Translation:
    """https://platform.openai.com/docs/api-reference/embeddings/create"""
    check_fields(body, {"dimensions": _dimensions, "encoding_format": one_of("float", "base64")})
    request: JsonObject = {"model": body.get("model"), "input": [*_texts(required(body, "input"))]}
    wanted = {name: body[name] for name in ("dimensions", "encoding_format") if body.get(name) is not None}
    return Translation(request | wanted)


def _dimensions(param: str, value: JsonValue) -> None:
    integer(param, value)
    if value not in TRAINED_FOR:
        known = ", ".join(map(str, TRAINED_FOR))
        raise UnsupportedRequest(f"This model's vectors have one of {known} dimensions, not {value}.", param)


def _texts(value: JsonValue) -> list[str]:
    if isinstance(value, str):
        return [filled("input", value)]
    if not isinstance(value, list):
        raise wrong_type("input", "a string or an array of strings", value)
    _some("input", value)
    return [_text(f"input[{i}]", item) for i, item in enumerate(filled_array("input", value))]


def _text(param: str, item: JsonValue) -> str:
    if is_tokens(item if isinstance(item, list) else [item]):
        raise UnsupportedRequest("Tokens are not supported: send the text.", param)
    return filled(param, item)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    texts: tuple[str, ...]
    encoding_format: Literal["float", "base64"]
    dimensions: int | None
    model: str
    """What the client sees."""


def embedding_request(body: JsonObject, slot: SlotSpec) -> EmbeddingRequest:
    """`body` is as `translate_embeddings` makes it. Raises `InvalidRequest` if it has no texts."""
    texts, dimensions = tuple(_texts(required(body, "input"))), body.get("dimensions")
    kind: Literal["float", "base64"] = "base64" if body.get("encoding_format") == "base64" else "float"
    return EmbeddingRequest(texts, kind, dimensions if isinstance(dimensions, int) else None, slot.name)


def engine_body(texts: Sequence[str]) -> JsonObject:
    """FLM's request."""
    return {"model": EMBEDDING, "input": [*texts]}


def embedding_answer(request: EmbeddingRequest, answer: JsonValue) -> JsonObject:
    """FLM's answer in OpenAI's terms. FLM counts no tokens: `usage` takes four characters for one, rounded up,
    as far as the text was embedded.

    Raises `EngineError` if there is not a vector for each text.
    """
    data: list[JsonValue] = [
        {"object": "embedding", "index": index, "embedding": _shown(request, vector)}
        for index, vector in enumerate(_vectors(answer, len(request.texts)))
    ]
    tokens = sum(min(estimated_tokens(text), MOST_TOKENS) for text in request.texts)
    usage: JsonObject = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


class _Embedding(BaseModel):
    embedding: list[float] = Field(min_length=1)


class _Answer(BaseModel):
    data: list[_Embedding]


def _vectors(answer: JsonValue, count: int) -> list[Vector]:
    try:
        found = _Answer.model_validate(answer).data
    except ValidationError as error:
        raise EngineError(502, "The engine's embeddings cannot be read.", "server_error", "engine_error") from error
    if len(found) != count:
        message = f"The engine answered {len(found)} embeddings for {count} texts."
        raise EngineError(502, message, "server_error", "engine_error")
    return [as_vector(item.embedding) for item in found]


def _shown(request: EmbeddingRequest, vector: Vector) -> JsonValue:
    if request.dimensions is not None and request.dimensions < len(vector):
        vector = shortened(vector, request.dimensions)
    if request.encoding_format == "base64":
        return packed(vector)
    numbers: list[JsonValue] = [*vector.tolist()]
    return numbers
