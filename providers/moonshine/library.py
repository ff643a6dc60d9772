"""Moonshine's library, `moonshine-voice`: one loaded model, and streams of audio through it.

Its C functions are called past its Python classes, which convert every sample by itself. What was measured with 0.1.5:
its one-shot call mixes up threads; streams of a streaming model do, too, as the model's state is shared and only partly
locked. So a model here has a lock, and works for one stream at a time. It computes under locks of its own anyway.
"""

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Samples, Word
from providers.errors import InvalidRequest, ProviderError
from providers.moonshine.names import Architecture

if TYPE_CHECKING:
    from ctypes import _Pointer

FORCE_UPDATE = 1
HOP = 1280
"""Samples that the library takes at a time; a streaming model does so in any case. It drops a rest."""
TAIL = 2 * HOP
"""Samples of silence after a stream, so that the rest which the library drops is of these."""


@dataclass(frozen=True, slots=True)
class Line:
    """What was understood. Times of words in seconds from the stream's first sample."""

    text: str
    words: tuple[Word, ...]


class Model:
    """Raises `ProviderError` where the library fails, which tells why on stderr alone."""

    def __init__(self, folder: Path, architecture: Architecture, tokens_per_s: float, word_times: bool) -> None:
        from moonshine_voice.errors import MoonshineError  # type: ignore[import-untyped]
        from moonshine_voice.moonshine_api import ModelArch  # type: ignore[import-untyped]
        from moonshine_voice.transcriber import Transcriber  # type: ignore[import-untyped]

        options = {
            # Speech has been told from silence before: everything is speech, and nothing is cut.
            "vad_threshold": "0",
            "vad_max_segment_duration": "0",
            "vad_hop_size": str(HOP),
            "transcription_interval": "0",
            "return_audio_data": "false",
            "word_timestamps": str(word_times).lower(),
            "max_tokens_per_second": str(tokens_per_s),
        }
        try:
            self._owner = Transcriber(str(folder), ModelArch(architecture.value), options=options)
        except MoonshineError as error:
            raise ProviderError(f"Moonshine cannot load {folder}: {error}; its own reason is in the log") from error
        self._library: Any = self._owner._lib
        self._lock = threading.Lock()
        self._keywords: tuple[str, ...] = ()
        self.streams = 0
        """How many there are, open."""

    def open(self) -> int:
        with self._lock:
            handle = self._checked(self._library.moonshine_create_stream(self._handle, 0))
            self._checked(self._library.moonshine_start_stream(self._handle, handle))
            self.streams += 1
        return handle

    def add(self, stream: int, samples: Samples) -> None:
        contiguous = np.ascontiguousarray(samples, np.float32)
        start = contiguous.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        with self._lock:
            self._checked(
                self._library.moonshine_transcribe_add_audio_to_stream(
                    self._handle, stream, start, len(contiguous), SAMPLE_RATE, 0
                )
            )

    def understand(self, stream: int, keywords: Sequence[str], last: bool = False) -> Line:
        """`last`: no more audio comes."""
        with self._lock:
            self._listen_for(tuple(keywords))
            if last:
                self._checked(self._library.moonshine_stop_stream(self._handle, stream))
            return self._line(stream)

    def end(self, stream: int) -> None:
        with self._lock:
            self.streams -= 1
            if self._owner._handle is not None:
                self._library.moonshine_free_stream(self._handle, stream)

    def close(self) -> None:
        """Waits for a call that is computing: to free the model under it would end the process."""
        with self._lock:
            self._owner.close()

    @property
    def _handle(self) -> int:
        handle: int | None = self._owner._handle
        if handle is None:
            raise ProviderError("The model has been unloaded.")
        return handle

    def _listen_for(self, keywords: tuple[str, ...]) -> None:
        """They are the model's, not the stream's: each call sets its own. Raises `InvalidRequest`."""
        if keywords == self._keywords:
            return
        from moonshine_voice.errors import MoonshineError

        try:
            self._owner.set_keyterms(keywords)
        except MoonshineError as error:
            raise InvalidRequest(f"The model cannot write these keywords: {error}", "keywords") from error
        self._keywords = keywords

    def _line(self, stream: int) -> Line:
        from moonshine_voice.moonshine_api import TranscriptC

        found: _Pointer[Any] = ctypes.POINTER(TranscriptC)()
        self._checked(
            self._library.moonshine_transcribe_stream(self._handle, stream, FORCE_UPDATE, ctypes.byref(found))
        )
        lines = self._owner._parse_transcript(found).lines
        words = tuple(
            Word(word.word, word.start, word.end, word.confidence) for line in lines for word in line.words or ()
        )
        return Line(" ".join(line.text.strip() for line in lines if line.text.strip()), words)

    def _checked(self, answer: int) -> int:
        if answer < 0:
            reason = self._library.moonshine_error_to_string(answer)
            raise ProviderError(
                f"Moonshine failed: {reason.decode() if reason else answer}; see the log for its reason"
            )
        return answer
