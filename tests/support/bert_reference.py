"""The original all-MiniLM-L6-v2 in plain numpy, slow and exact: what the converted file must agree with."""

import json
import math
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from providers.tiny.minilm import model_folder

Floats = NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[np.float64])


class BertReference:
    """Tokenizes and embeds one text at a time, as sentence-transformers would."""

    def __init__(self) -> None:
        folder = model_folder()
        config = json.loads((folder / "config.json").read_text())
        pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self._ids = {piece: index for index, piece in enumerate(pieces)}
        self._layers, self._heads = config["num_hidden_layers"], config["num_attention_heads"]
        self._epsilon = config["layer_norm_eps"]
        weights = load_file(folder / "model.safetensors")
        self._weights: dict[str, Floats] = {name: values.astype(np.float64) for name, values in weights.items()}

    def tokenize(self, text: str) -> list[int]:
        """Token ids of an English text, with those that begin and end it."""
        plain = "".join(mark for mark in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(mark))
        pieces = [piece for word in re.findall(r"\w+|[^\w\s]", plain) for piece in self._pieces(word)]
        return [self._ids[piece] for piece in ("[CLS]", *pieces, "[SEP]")]

    def embed(self, text: str) -> Floats:
        """The text's vector: 384 numbers of length 1."""
        tokens = self.tokenize(text)
        hidden = (
            self._weights["embeddings.word_embeddings.weight"][tokens]
            + self._weights["embeddings.position_embeddings.weight"][: len(tokens)]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for layer in range(self._layers):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden)
        mean: Floats = hidden.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _pieces(self, word: str) -> list[str]:
        """The longest known pieces that spell the word, from its start."""
        pieces: list[str] = []
        while word:
            prefix = "##" if pieces else ""
            end = next((end for end in range(len(word), 0, -1) if prefix + word[:end] in self._ids), 0)
            if end == 0:
                return ["[UNK]"]
            pieces.append(prefix + word[:end])
            word = word[end:]
        return pieces

    def _layer(self, name: str, hidden: Floats) -> Floats:
        attended = self._linear(name + "attention.output.dense", self._attention(name + "attention.self.", hidden))
        hidden = self._norm(name + "attention.output.LayerNorm", hidden + attended)
        inner = self._linear(name + "intermediate.dense", hidden)
        activated = inner * (1 + _erf(inner / math.sqrt(2))) / 2
        return self._norm(name + "output.LayerNorm", hidden + self._linear(name + "output.dense", activated))

    def _attention(self, name: str, hidden: Floats) -> Floats:
        query, key, value = (
            self._linear(name + role, hidden).reshape(len(hidden), self._heads, -1).swapaxes(0, 1)
            for role in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[2])
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        return np.asarray((weights @ value).swapaxes(0, 1).reshape(hidden.shape))

    def _linear(self, name: str, values: Floats) -> Floats:
        return np.asarray(values @ self._weights[name + ".weight"].T + self._weights[name + ".bias"])

    def _norm(self, name: str, values: Floats) -> Floats:
        centred = values - values.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._epsilon)
        return np.asarray(scaled * self._weights[name + ".weight"] + self._weights[name + ".bias"])
