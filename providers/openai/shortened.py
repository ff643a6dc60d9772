"""Embeddings that were asked for shorter than the model makes them.

https://platform.openai.com/docs/api-reference/embeddings/create#embeddings_create-dimensions
"""

from dataclasses import dataclass

from pydantic import JsonValue

from providers.openai.checks import wrong_value
from providers.openai.vectors import Vector, as_vector, packed, shortened, unpacked


@dataclass(frozen=True, slots=True)
class Shortened:
    """Cuts vectors to `dimensions` and gives them length 1 again, which is what OpenAI does.

    Raises `InvalidRequest` if the model's vectors are shorter: only the answer shows how long they are.
    """

    dimensions: int

    def __call__(self, answer: JsonValue) -> JsonValue:
        data = answer.get("data") if isinstance(answer, dict) else None
        for item in data if isinstance(data, list) else ():
            if isinstance(item, dict):
                item["embedding"] = self._shorten(item.get("embedding"))
        return answer

    def _shorten(self, embedding: JsonValue) -> JsonValue:
        if isinstance(embedding, str):
            return packed(self._cut(unpacked(embedding)))
        values: list[JsonValue] = [*self._cut(as_vector(embedding)).tolist()]
        return values

    def _cut(self, vector: Vector) -> Vector:
        if self.dimensions > len(vector):
            raise wrong_value("dimensions", f"this model has {len(vector)}, but got {self.dimensions} instead.")
        return shortened(vector, self.dimensions)
