"""Embeddings as OpenAI sends them: https://platform.openai.com/docs/api-reference/embeddings/object"""

import base64

import numpy
from numpy.typing import NDArray

Vector = NDArray[numpy.floating]


def shortened(vector: Vector, dimensions: int) -> Vector:
    """The first `dimensions` numbers, at length 1 again."""
    head = vector[:dimensions]
    length = numpy.linalg.norm(head)
    return head / length if length else head


def packed(vector: Vector) -> str:
    """base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def unpacked(text: str) -> Vector:
    return numpy.frombuffer(base64.b64decode(text), dtype="<f4")
