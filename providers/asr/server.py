"""A loaded `Recognizer` behind a port: the native engine of every slot of speech recognition."""

from collections.abc import Callable

from providers.asr.options import AsrOptions
from providers.asr.recognizer import Recognizer
from providers.base import Placement


class AsrServer:
    """`load` makes the model ready and may take minutes; it runs in a thread of its own. What it raises is told as the
    reason of a failed load. `sessions`: as many are computed at once, in a thread each."""

    def __init__(
        self, load: Callable[[], Recognizer], options: AsrOptions, placement: Placement, sessions: int
    ) -> None:
        self._load, self._options, self._placement, self._sessions = load, options, placement, sessions

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError
