"""Who reads slowly costs no memory: an engine goes no faster than its answer is read.

Where the ingress itself listens, as `hal0 up` has it: Serve's own proxy takes whatever comes and keeps it.
"""

import httpx
import pytest

from tests.e2e.demo import demo
from tests.e2e.test_speech import peak_bytes
from tests.support.server import ServerPark

pytestmark = pytest.mark.e2e

SENTENCE = "Every sentence of this book has exactly nine words."
SENTENCES = 556
PCM_BYTES_PER_S = 2 * 24_000


def test_a_book_costs_no_memory(servers: ServerPark) -> None:
    server = demo(servers)
    (ingress,) = server.processes("ServeReplica:hal0:ingress")
    url, speech = f"{server.url}/v1/audio/speech", {"model": "tts", "voice": "af_heart", "response_format": "pcm"}
    assert httpx.post(url, json=speech | {"input": SENTENCE}, timeout=60).status_code == 200
    before = peak_bytes(ingress)
    heard = 0
    with httpx.stream("POST", url, json=speech | {"input": " ".join([SENTENCE] * SENTENCES)}, timeout=60) as answer:
        for chunk in answer.iter_raw():
            heard += len(chunk)
    # A sentence lasts more than a second: all of it is more than 26 MB, and 50 MB as it was measured.
    assert heard > SENTENCES * PCM_BYTES_PER_S
    assert peak_bytes(ingress) - before < 16 * 2**20
