"""A loaded `Recognizer` behind a port: the native engine of every slot of speech recognition."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from aiohttp import web

from providers.asr.connection import Connection
from providers.asr.cutting import BlockCutter, Cutter
from providers.asr.live import LiveSession
from providers.asr.messages import LARGEST_MESSAGE, Start, TurnDetection
from providers.asr.options import HearingOptions, VoiceDetectorKind
from providers.asr.paths import SESSION_PATH
from providers.asr.recognizer import SAMPLE_RATE, Asked, Recognizer
from providers.asr.session import FileSession, Listener, Session
from providers.asr.utterances import UtteranceCutter
from providers.asr.voice import VoiceDetector, detectors
from providers.base import Placement
from providers.native.server import CLOSE_TIMEOUT_S, NativeServer, refusal

SPARE_SESSIONS = 4
"""More than are computed at once, for those that come while others are ending."""
WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Loaded:
    recognizer: Recognizer
    detector: Callable[[], VoiceDetector]

    def close(self) -> None:
        self.recognizer.close()


class AsrServer(NativeServer[Loaded]):
    """`sessions`: as many are computed at once, in a thread each."""

    name = "asr"
    method, path = "GET", SESSION_PATH

    def __init__(
        self, load: Callable[[], Recognizer], options: HearingOptions, placement: Placement, sessions: int
    ) -> None:
        super().__init__(partial(loaded, load, options.voice_detector), placement, sessions)
        self._options, self._sessions = options, sessions

    async def answer(self, request: web.Request, model: Loaded) -> web.StreamResponse:
        if len(self.visits) >= self._sessions + SPARE_SESSIONS:
            return refusal(503, f"The engine hears {len(self.visits)} sessions already.")
        # aiohttp refuses a message of exactly its limit.
        socket = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, compress=False, max_msg_size=LARGEST_MESSAGE + 1)
        await socket.prepare(request)
        connection = Connection(socket, request.transport, self.workers, partial(self.opened, model))
        await self.attend(connection, connection.serve())
        return socket

    def opened(self, model: Loaded, start: Start, listener: Listener) -> Session:
        """What hears one client's audio."""
        recognizer = model.recognizer
        if start.live:
            return LiveSession(recognizer, model.detector, start, self._options.partial_interval_s, listener)
        cutter: Cutter
        if start.turns is None and recognizer.cuts_itself:
            cutter = BlockCutter(recognizer.longest_piece_s)
        else:
            cutter = UtteranceCutter(model.detector(), start.turns or TurnDetection(), recognizer.longest_piece_s)
        return FileSession(recognizer, cutter, start.asked, listener)


def loaded(load: Callable[[], Recognizer], voice_detector: VoiceDetectorKind) -> Loaded:
    """A model that has computed once."""
    detector = detectors(voice_detector)
    model = Loaded(load(), detector)
    try:
        silence = np.zeros(round(WARM_UP_S * SAMPLE_RATE), np.float32)
        for _ in model.recognizer.recognize(silence, Asked()):
            pass
    except Exception:
        model.close()
        raise
    return model
