"""What a model's metadata says of its layers' attention: how much each keeps of a token, and of how many tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from providers.llamacpp.gguf_header import BrokenHeader, Value

MOST_LAYERS = 4096
WITHOUT_CACHE = frozenset({"gemma-embedding", "t5encoder", "llama-embed", "dream", "llada", "llada-moe", "rnd1"})
"""Architectures, beside BERT's kin, that read a text as a whole, so that llama.cpp keeps nothing of it."""
WINDOW_PERIOD: Mapping[str, int] = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "cohere2": 4,
    "olmo2": 4,
    "exaone4": 4,
}
"""One layer in so many sees all tokens, in architectures whose files need not say so. A window of any other one
that its file does not explain is taken for the whole context: rather too much than too little."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Elements that one token takes in a layer's cache; `window` tokens are kept at most, None: all."""

    key_elements: int
    value_elements: int
    window: int | None = None


class _Shape:
    """The keys of one architecture. Raises `BrokenHeader` for one that is missing or no number."""

    def __init__(self, metadata: Mapping[str, Value]) -> None:
        self.architecture = str(metadata.get("general.architecture"))
        self._metadata = metadata

    def get(self, key: str) -> Value | None:
        return self._metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or value < 0:
            raise BrokenHeader(f"{key}: {value}")
        return value

    def at_layer(self, key: str, layer: int, default: int) -> int:
        """A number for all layers, or an array with one for each."""
        value = self.get(key)
        if not isinstance(value, tuple):
            return self.number(key, default)
        one = value[layer] if layer < len(value) else None
        if not isinstance(one, int) or one < 0:
            raise BrokenHeader(f"{key}: {value}")
        return one


def layer_count(metadata: Mapping[str, Value]) -> int:
    """Raises `BrokenHeader`."""
    count = _Shape(metadata).number("block_count")
    if count > MOST_LAYERS:
        raise BrokenHeader(f"block_count: {count}")
    return count


def cached_layers(metadata: Mapping[str, Value]) -> list[Layer]:
    """The layers with a cache. Raises `BrokenHeader`."""
    shape = _Shape(metadata)
    reads_whole = shape.get("attention.causal") is False or "bert" in shape.architecture
    if reads_whole or shape.architecture in WITHOUT_CACHE:
        return []
    return list(_layers(shape, layer_count(metadata)))


def _layers(shape: _Shape, count: int) -> Iterator[Layer]:
    # The last of these look at the cache of earlier ones.
    own_cache = count - shape.number("attention.shared_kv_layers", 0)
    attention_every = shape.number("full_attention_interval", 1) or 1
    for index in range(own_cache):
        recurrent = (index + 1) % attention_every != 0
        heads = 0 if recurrent else shape.at_layer("attention.head_count_kv", index, _heads(shape, index))
        if heads:
            yield _layer(shape, index, heads)


def _layer(shape: _Shape, index: int, heads: int) -> Layer:
    window = _window(shape, index)
    kind = "" if window is None else "_swa"
    keys = _length(shape, index, "key", kind)
    # With latent attention the values are a part of the keys.
    latent = shape.get("attention.key_length_mla") is not None
    values = 0 if latent else _length(shape, index, "value", kind)
    return Layer(heads * keys, heads * values, window)


def _length(shape: _Shape, index: int, part: str, kind: str) -> int:
    """Elements of one head."""
    length = shape.get(f"attention.{part}_length{kind}") or shape.get(f"attention.{part}_length")
    if isinstance(length, int):
        return length
    return shape.number("embedding_length") // max(1, _heads(shape, index))


def _heads(shape: _Shape, index: int) -> int:
    return shape.at_layer("attention.head_count", index, 0)


def _window(shape: _Shape, index: int) -> int | None:
    size = shape.number("attention.sliding_window", 0)
    pattern = shape.get("attention.sliding_window_pattern")
    if not size:
        return None
    if isinstance(pattern, tuple):
        return size if index < len(pattern) and pattern[index] else None
    period = pattern if isinstance(pattern, int) else WINDOW_PERIOD.get(shape.architecture, 1)
    return size if period == 0 or index % period < period - 1 else None
