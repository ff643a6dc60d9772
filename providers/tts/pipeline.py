"""A text to sound: one sentence is computed while those before it are being heard."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import MappingProxyType

import numpy as np

from providers.native.workers import Workers
from providers.tts.pipeline_sound import pcm, silence
from providers.tts.sentences import Pause, Piece, sentences
from providers.tts.synthesizer import Manner, Samples, Synthesizer

LONG_S = 30.0
"""A sentence that sounds longer is waited for to be taken before the next one is computed."""
PAUSES = MappingProxyType({Pause.NONE: 0.0, Pause.CLAUSE: 0.4, Pause.SENTENCE: 1.0, Pause.PARAGRAPH: 2.0})
"""How long they are, of that between sentences."""


class Pipeline:
    """At most two sentences are ahead of the one that is being taken. `gone` says that nobody listens any more: then no
    further sentence is begun, and the one that is being computed ends where its iterator next yields."""

    def __init__(
        self, synthesizer: Synthesizer, workers: Workers, sentence_pause_s: float, gone: Callable[[], bool]
    ) -> None:
        self._synthesizer, self._workers = synthesizer, workers
        self._sentence_pause_s, self._listener_gone = sentence_pause_s, gone
        self._closed = False
        self._sounds: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._failure: Exception | None = None

    async def sounds(self, text: str, manner: Manner) -> AsyncGenerator[bytes]:
        """A sentence each, signed 16 bits, the pause after it included; none is empty. Raises what the synthesizer
        raised, after the sentences before it. To be closed; only once."""
        computing = asyncio.create_task(self._compute(text, manner))
        try:
            while (sound := await self._sounds.get()) is not None:
                self._sounds.task_done()
                yield sound
            if self._failure is not None:
                raise self._failure
        finally:
            self._closed = True
            computing.cancel()
            await asyncio.gather(computing, return_exceptions=True)

    async def _compute(self, text: str, manner: Manner) -> None:
        try:
            pieces = await self._workers.run(self._begun, text, manner)
            for number, piece in enumerate(pieces, 1):
                sound = await self._workers.run(self._spoken, piece, manner, number == len(pieces))
                if sound:
                    await self._sounds.put(sound)
                if len(sound) > LONG_S * self._synthesizer.sample_rate * 2:
                    await self._sounds.join()
                if self._gone():
                    break
        except Exception as error:
            self._failure = error
        await self._sounds.put(None)

    def _gone(self) -> bool:
        return self._closed or self._listener_gone()

    def _begun(self, text: str, manner: Manner) -> list[Piece]:
        if self._gone():
            return []
        self._synthesizer.check(manner)
        return sentences(text, self._synthesizer.longest_text)

    def _spoken(self, piece: Piece, manner: Manner, last: bool) -> bytes:
        rate = self._synthesizer.sample_rate
        samples = self._samples(piece.text, manner)
        sound = pcm(np.concatenate(samples), rate) if samples else b""
        pause_s = PAUSES[piece.pause] * self._sentence_pause_s / manner.speed
        return sound if last or not sound else sound + silence(pause_s, rate)

    def _samples(self, text: str, manner: Manner) -> list[Samples]:
        found: list[Samples] = []
        computed = self._synthesizer.speak(text, manner)
        try:
            while not self._gone() and (samples := next(computed, None)) is not None:
                found.append(samples)
        finally:
            close = getattr(computed, "close", None)
            if close is not None:
                close()
        return found
