"""Files of safetensors, written without its library: https://huggingface.co/docs/safetensors/index#format"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
_ALIGNMENT = 8


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Arrays by name, of 16 or 32 bits. Raises `KeyError` for others, and `OSError`."""
    header, offset = {}, 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": _TYPES[values.dtype], "shape": values.shape, "data_offsets": (offset, end)}
        offset = end
    # Loaders of other languages know the weights for PyTorch's by this.
    head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    head += b" " * (-len(head) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())
