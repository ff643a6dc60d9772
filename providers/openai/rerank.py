"""Reranking: one answer that suits the clients of Jina, Cohere and vLLM, and TEI's bare array for `texts`.

https://api.jina.ai/redoc#tag/rerank, https://docs.cohere.com/reference/rerank,
https://huggingface.github.io/text-embeddings-inference/#/Text%20Embeddings%20Inference/rerank
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from pydantic import JsonValue

from providers.base import JsonObject
from providers.openai.checks import (
    Check,
    boolean,
    check_fields,
    filled,
    filled_array,
    integer_from,
    missing,
    required,
    text,
    wrong_type,
)

_FIELDS: Mapping[str, Check] = {
    "top_n": integer_from(1),
    "return_documents": boolean,
    "return_text": boolean,
    "normalize": boolean,
    "raw_scores": boolean,
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """A request that has been checked, and what its answer is to look like."""

    request: JsonObject
    documents: list[str]
    normalize: bool
    """Scores from 0 to 1 instead of the model's own."""
    return_documents: bool
    is_tei: bool

    def answer(self, logits: bool = True) -> Callable[[JsonValue], JsonValue]:
        """`logits`: whether the engine's scores are the model's own, whatever was asked for."""
        kind = _Tei if self.is_tei else _Results
        return kind(self.documents, self.normalize and logits, self.return_documents)


def ranking(body: JsonObject) -> Ranking:
    check_fields(body, _FIELDS)
    filled("query", required(body, "query"))
    field = "texts" if "texts" in body else "documents"
    if field not in body:
        raise missing("documents")
    given = filled_array(field, body[field])
    documents = [_document_text(f"{field}[{i}]", document) for i, document in enumerate(given)]
    request: JsonObject = {"model": body.get("model"), "query": body["query"], "documents": [*documents]}
    if (top := body.get("top_n")) is not None:
        request["top_n"] = top
    # TEI's own name for the choice is the opposite one.
    normalize = body.get("normalize") is True or body.get("raw_scores") is False
    wants_documents = body.get("return_text" if field == "texts" else "return_documents") is True
    return Ranking(request, documents, normalize, wants_documents, field == "texts")


def _document_text(param: str, document: JsonValue) -> str:
    if isinstance(document, dict):
        return text(f"{param}.text", required(document, "text", f"{param}."))
    if not isinstance(document, str):
        raise wrong_type(param, "a string or an object with 'text'", document)
    return document


@dataclass(frozen=True, slots=True)
class _Scores:
    """Scores of documents, best first."""

    documents: list[str]
    normalize: bool
    return_documents: bool

    def ranked(self, answer: JsonValue) -> list[tuple[int, float]]:
        results = answer.get("results") if isinstance(answer, dict) else None
        scores: list[tuple[int, float]] = []
        for result in results if isinstance(results, list) else ():
            if isinstance(result, dict):
                index, score = result.get("index"), result.get("relevance_score")
                if isinstance(index, int) and isinstance(score, int | float):
                    scores.append((index, logistic(score) if self.normalize else score))
        return sorted(scores, key=lambda scored: -scored[1])


class _Results(_Scores):
    def __call__(self, answer: JsonValue) -> JsonValue:
        fields = answer if isinstance(answer, dict) else {}
        usage = fields.get("usage")
        tokens = usage.get("total_tokens", 0) if isinstance(usage, dict) else 0
        return {
            "id": f"rerank-{uuid4().hex}",
            "object": "list",
            "model": fields.get("model"),
            "usage": usage,
            "results": [self._result(index, score) for index, score in self.ranked(answer)],
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": tokens, "output_tokens": 0},
            },
        }

    def _result(self, index: int, score: float) -> JsonObject:
        result: JsonObject = {"index": index, "relevance_score": score}
        return result | {"document": {"text": self.documents[index]}} if self.return_documents else result


class _Tei(_Scores):
    def __call__(self, answer: JsonValue) -> JsonValue:
        return [self._result(index, score) for index, score in self.ranked(answer)]

    def _result(self, index: int, score: float) -> JsonObject:
        result: JsonObject = {"index": index, "score": score}
        return result | {"text": self.documents[index]} if self.return_documents else result


def logistic(logit: float) -> float:
    """0..1 for any logit; the two forms keep `exp` from overflowing."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
