"""Reranking. The engine's scores are the model's own; it knows neither documents that are objects nor TEI's form."""

from providers.base import JsonObject, Translation
from providers.openai.rerank import ranking
from providers.spec import SlotSpec


def translate_rerank(body: JsonObject, slot: SlotSpec) -> Translation:
    wanted = ranking(body)
    return Translation(wanted.request, response=wanted.answer())
