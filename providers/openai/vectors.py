"""Embeddings as OpenAI sends them: https://platform.openai.com/docs/api-reference/embeddings/object

Every process imports this with the dialects, and few ever see a vector: numpy is imported where one is made.
"""

import base64
import math
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[numpy.floating]"


def as_vector(numbers: Any) -> Vector:
    """Of a list as JSON has it. Raises ValueError or TypeError for what is none of numbers."""
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float64)


def shortened(vector: Vector, dimensions: int) -> Vector:
    """The first `dimensions` numbers, at length 1 again."""
    head = vector[:dimensions]
    length = math.sqrt(head @ head)
    return head / length if length else head


def packed(vector: Vector) -> str:
    """base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def unpacked(text: str) -> Vector:
    import numpy

    return numpy.frombuffer(base64.b64decode(text), dtype="<f4")
