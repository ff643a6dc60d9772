"""A loaded `Synthesizer` behind a port: the native engine of every slot that speaks."""

from collections.abc import Callable
from functools import partial

from aiohttp import web

from providers.base import Placement
from providers.native.server import NativeServer
from providers.tts.options import TtsOptions
from providers.tts.paths import SPEECH_PATH
from providers.tts.pipeline import Pipeline
from providers.tts.speech import Speech
from providers.tts.synthesizer import Synthesizer


class TtsServer(NativeServer[Synthesizer]):
    """`load` also lets the model compute once: only the provider knows a manner to speak in. `requests`: for as many is
    computed at once, in a thread each; more than these share the threads sentence by sentence."""

    name = "tts"
    method, path = "POST", SPEECH_PATH
    largest_body = 4 * 1024**2

    def __init__(
        self, load: Callable[[], Synthesizer], options: TtsOptions, placement: Placement, requests: int
    ) -> None:
        super().__init__(load, placement, requests)
        self._sentence_pause_s = options.sentence_pause_s

    async def answer(self, request: web.Request, model: Synthesizer) -> web.StreamResponse:
        opened = partial(Pipeline, model, self.workers, self._sentence_pause_s)
        speech = Speech(request, opened, model.sample_rate, self.log)
        await self.attend(speech, speech.serve())
        return speech.response
