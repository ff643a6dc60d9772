"""The styles of voices: what makes the model speak as somebody. Each is read when it is first asked for."""

import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from providers.errors import ProviderError
from providers.kokoro.files import ADVICE, AGAIN
from providers.kokoro.names import STYLE_LENGTH
from providers.kokoro.voice_files import MEMBER, SUFFIX, archive_at, names_in
from providers.tts.synthesizer import Share

Style = NDArray[np.float32]
"""[n, 1, 256]: row `k` is of a text of `k + 1` phonemes."""

_ROW_BYTES = STYLE_LENGTH * 4


class Styles:
    """Thread-safe. Raises `ProviderError` if the first voice is not shaped as Kokoro's are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = names_in(path)
        self._read: dict[str, Style] = {}
        self._reading = threading.Lock()
        self.of(self.names[0])

    def of(self, name: str) -> Style:
        """Raises KeyError for a name that is not among `names`, `ProviderError` for a voice that cannot be read."""
        if name not in self.names:
            raise KeyError(name)
        with self._reading:
            if name not in self._read:
                self._read[name] = self._from_folder(name) if self._path.is_dir() else self._from_archive(name)
            return self._read[name]

    def blend(self, shares: Sequence[Share]) -> Style:
        """The mean of voices by their weights. Raises as `of` does."""
        if len(shares) == 1:
            return self.of(shares[0].voice)
        styles = [self.of(share.voice) for share in shares]
        rows = min(len(style) for style in styles)
        total = sum(share.weight for share in shares)
        mixed = np.zeros_like(styles[0][:rows])
        for style, share in zip(styles, shares, strict=True):
            mixed += style[:rows] * np.float32(share.weight / total)
        return mixed

    def _from_archive(self, name: str) -> Style:
        try:
            with archive_at(self._path) as archive, archive.open(name + MEMBER) as file:
                style: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise ProviderError(f"{self._path}: voice {name} cannot be read: {error}; {AGAIN}") from error
        if style.dtype.kind != "f" or style.ndim < 2 or not len(style) or style.size != len(style) * STYLE_LENGTH:
            raise ProviderError(
                f"{self._path}: voice {name} has the shape {style.shape} of {style.dtype}, not (510, 1, {STYLE_LENGTH})"
                f" of float32: it is of another model than Kokoro v1.0; {ADVICE}"
            )
        return style.reshape(-1, 1, STYLE_LENGTH).astype(np.float32, copy=False)

    def _from_folder(self, name: str) -> Style:
        path = self._path / (name + SUFFIX)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ProviderError(f"voice {name} cannot be read: {error}; {AGAIN}") from error
        if not content or len(content) % _ROW_BYTES:
            raise ProviderError(
                f"{path} has {len(content)} bytes; a voice has {_ROW_BYTES} for each number of phonemes; {AGAIN}"
            )
        return np.frombuffer(content, np.dtype("<f4")).astype(np.float32, copy=False).reshape(-1, 1, STYLE_LENGTH)
