"""FLM's Whisper, to the sessions that share it."""

import asyncio
import io
import wave
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait

import numpy as np

from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment, Utterance
from providers.errors import EngineError
from providers.flm.gone import EngineGone

LOOK_S = 0.1
"""How often one that waits looks whether anybody still listens."""

Hear = Callable[[bytes], Coroutine[object, object, str]]
"""A WAV file to its text, on the event loop."""


class FlmRecognizer:
    """A `Recognizer` for the threads of sessions. FLM tells no times: a piece is one segment."""

    longest_piece_s = 30.0
    cuts_itself = False

    def __init__(self, hear: Hear, loop: asyncio.AbstractEventLoop, gone: Callable[[], bool] = lambda: False) -> None:
        self._hear, self._loop, self._gone = hear, loop, gone

    def listening(self, gone: Callable[[], bool]) -> "FlmRecognizer":
        """For one session: what is under way ends soon once nobody listens to it any more."""
        return FlmRecognizer(self._hear, self._loop, gone)

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        """Raises `EngineError`."""
        text = self._text(wav(samples)).strip()
        if text:
            yield Segment(text, 0.0, len(samples) / SAMPLE_RATE)

    def utterance(self, asked: Asked) -> Utterance | None:
        return None

    def close(self) -> None:
        return None

    def _text(self, sound: bytes) -> str:
        job = asyncio.run_coroutine_threadsafe(self._hear(sound), self._loop)
        try:
            while not job.done():
                if self._gone():
                    return ""
                wait([job], LOOK_S)
            return job.result()
        except EngineGone as error:
            raise EngineError(503, f"The engine went away: {error}", "server_error", "engine_died") from error
        finally:
            job.cancel()


def wav(samples: Samples) -> bytes:
    """16 bits, mono; what is too loud is clipped."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 32767 / 32768) * 32768).astype("<i2").tobytes())
    return out.getvalue()
