"""Building blocks of the tiny models' weights."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
Tensors: TypeAlias = Mapping[str, NDArray[np.float32] | NDArray[np.float16]]


class Draw(Protocol):
    """Draws the next weights of a shape."""

    def __call__(self, *shape: int) -> FloatArray: ...


def random_weights(seed: int) -> Draw:
    """Normal noise, scaled so that a vector multiplied by the weights keeps its length on average."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> FloatArray:
        noise: NDArray[np.float64] = generator.standard_normal(shape) / np.sqrt(shape[-1])
        return noise.astype(np.float32)

    return draw


def ones(size: int) -> FloatArray:
    return np.ones(size, np.float32)


def zeros(size: int) -> FloatArray:
    return np.zeros(size, np.float32)


def linear(draw: Draw, name: str, outputs: int, inputs: int) -> dict[str, FloatArray]:
    """A random matrix of shape (outputs, inputs) with a bias of zeros."""
    return {f"{name}.weight": draw(outputs, inputs), f"{name}.bias": zeros(outputs)}


def norm(name: str, size: int) -> dict[str, FloatArray]:
    """A layer norm that scales by one."""
    return {f"{name}.weight": ones(size), f"{name}.bias": zeros(size)}


def add_tensors(writer: GGUFWriter, tensors: Tensors) -> None:
    """Add arrays by name, in their order and precision."""
    for name, values in tensors.items():
        writer.add_tensor(name, values)
