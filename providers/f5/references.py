"""Recordings that were made ready, for the next sentence and for the next request of the same voice."""

import hashlib
import threading
from collections import OrderedDict

from providers.f5.reference import Prepared, prepare
from providers.tts.synthesizer import Reference

MOST = 16
"""Of 0.5 MB at most each."""


class References:
    """Thread-safe. Those that were used last are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def prepared(self, reference: Reference) -> Prepared:
        """Raises `InvalidRequest` as `prepare` does."""
        key = _digest(reference)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = prepare(reference)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def _digest(reference: Reference) -> bytes:
    digest = hashlib.sha256(f"{reference.rate} {len(reference.text)} {reference.text}".encode())
    digest.update(reference.pcm)
    return digest.digest()
