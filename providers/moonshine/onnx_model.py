"""A Moonshine model as ONNX exports, as `onnx-community/moonshine-tiny-ONNX` on the Hub has them."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from providers.asr.recognizer import Samples
from providers.devices import Device
from providers.errors import ProviderError
from providers.moonshine.folder import OnnxFolder
from providers.onnx.session import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

Tensors = dict[str, NDArray[np.generic]]
CACHE = "past_key_values."
FILLED = "present."
SHORTEST = 8000
"""Samples. The model's first layers need some length; what is shorter is filled with silence."""
DEFAULTS: Mapping[str, int] = {"decoder_start_token_id": 1, "eos_token_id": 2}


class OnnxModel:
    """Raises `ProviderError` if the files are not those of a Moonshine model. Thread-safe as ONNX Runtime is."""

    def __init__(self, folder: OnnxFolder, device: Device, threads: int) -> None:
        config = json.loads(folder.config.read_bytes())
        self._start, self._end = (_integer(config, key, folder.config) for key in DEFAULTS)
        self._encoder = open_session(folder.encoder, device, threads)
        self._decoder = open_session(folder.decoder, device, threads)
        self._empty_cache = _empty_cache(self._decoder, folder.decoder)
        self._tokenizer = _tokenizer(folder.tokenizer)
        self._inputs = {one.name for one in self._decoder.get_inputs()}
        if "input_values" not in {one.name for one in self._encoder.get_inputs()}:
            raise ProviderError(f"{folder.encoder} takes no input_values; it is not a Moonshine encoder")

    def text(self, samples: Samples, most_tokens: int) -> str:
        heard = self._encode(samples)
        return str(self._tokenizer.decode(list(islice(self._said(heard), most_tokens)))).strip()

    def _encode(self, samples: Samples) -> NDArray[np.generic]:
        audio = np.pad(samples, (0, max(0, SHORTEST - len(samples))))[None].astype(np.float32)
        given: Tensors = {"input_values": audio}
        if "attention_mask" in {one.name for one in self._encoder.get_inputs()}:
            given["attention_mask"] = np.ones(audio.shape, np.int64)
        encoded: NDArray[np.generic] = self._encoder.run(None, given)[0]
        return encoded

    def _said(self, heard: NDArray[np.generic]) -> Iterator[int]:
        """Tokens, the likeliest each time, until the model ends."""
        names = [one.name for one in self._decoder.get_outputs()]
        cache, token, cached = dict(self._empty_cache), self._start, False
        while True:
            given: Tensors = {
                "input_ids": np.array([[token]], np.int64),
                "encoder_hidden_states": heard,
                "use_cache_branch": np.array([cached]),
                "encoder_attention_mask": np.ones(heard.shape[:2], np.int64),
            }
            given = {name: value for name, value in given.items() if name in self._inputs} | cache
            found = dict(zip(names, self._decoder.run(None, given), strict=True))
            token = int(found["logits"][0, -1].argmax())
            if token == self._end:
                return
            yield token
            # Of the encoder's part only the first step gives all: later ones repeat none of it.
            cache |= {name: found[name.replace(CACHE, FILLED)] for name in cache if not cached or ".decoder." in name}
            cached = True


def _empty_cache(decoder: "InferenceSession", path: Path) -> Tensors:
    """One row of zeros a layer, which the first step does not read."""
    cache: Tensors = {}
    for one in decoder.get_inputs():
        if one.name.startswith(CACHE):
            heads, width = one.shape[1], one.shape[3]
            if not isinstance(heads, int) or not isinstance(width, int):
                raise ProviderError(f"{path} does not say the size of {one.name}; export it with fixed heads")
            cache[one.name] = np.zeros((1, heads, 1, width), np.float32)
    outputs = {one.name for one in decoder.get_outputs()}
    missing = {name.replace(CACHE, FILLED) for name in cache} | {"logits"}
    if not cache or missing - outputs:
        raise ProviderError(
            f"{path} is not a merged Moonshine decoder; it is named decoder_model_merged.onnx at its source"
        )
    return cache


def _tokenizer(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other class
        raise ProviderError(f"{path} is no tokenizer: {error}") from error


def _integer(config: Mapping[str, object], key: str, path: Path) -> int:
    value = config.get(key, DEFAULTS[key])
    if not isinstance(value, int):
        raise ProviderError(f"{path}: {key} is {value!r}; it must be a whole number")
    return value
