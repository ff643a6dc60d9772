"""Speech on its way to a client: as the bytes of a file, or as events.

https://platform.openai.com/docs/api-reference/audio/speech-audio-delta-event
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Send

from providers.base import JsonObject
from serve_app.audio.encode import CONTENT_TYPES, Format
from serve_app.http_io import dump_json, send_chunk, send_end, send_start
from serve_app.reply import Reply

CHARACTERS_OF_A_TOKEN = 4
TOKENS_OF_A_SECOND = 20


@dataclass(frozen=True, slots=True)
class Usage:
    """No engine here counts tokens: one is taken for four characters of text, as English has them on average, and for
    50 ms of speech, as OpenAI bills them. Both are rounded up."""

    characters: int
    seconds: float

    def told(self) -> JsonObject:
        taken = -(-self.characters // CHARACTERS_OF_A_TOKEN)
        given = int(-(-self.seconds * TOKENS_OF_A_SECOND // 1))
        return {"input_tokens": taken, "output_tokens": given, "total_tokens": taken + given}


class SpeechReply(Protocol):
    @property
    def begun(self) -> bool:
        """Whether anything of the speech has been sent, so that no other engine can speak in this one's place."""

    async def audio(self, data: bytes) -> None: ...

    async def end(self, usage: Usage) -> None: ...


class FileReply:
    """The status is sent with the first bytes. An answer that is not ended looks broken to its client, as it should."""

    def __init__(self, send: Send, format: Format) -> None:
        self._send, self._format = send, format
        self.begun = False

    async def audio(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            headers = [(b"content-type", CONTENT_TYPES[self._format]), (b"x-accel-buffering", b"no")]
            await send_start(self._send, 200, headers)
        await send_chunk(self._send, data)

    async def end(self, usage: Usage) -> None:
        del usage
        await send_end(self._send)


class EventReply:
    """`reply` may have sent comments before."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.begun = False

    async def audio(self, data: bytes) -> None:
        self.begun = True
        await self._reply.begin_stream()
        await self._tell({"type": "speech.audio.delta", "audio": b64encode(data).decode()})

    async def end(self, usage: Usage) -> None:
        await self._tell({"type": "speech.audio.done", "usage": usage.told()})
        await self._reply.end()

    async def _tell(self, event: JsonObject) -> None:
        await self._reply.chunk(b"data: " + dump_json(event) + b"\n\n")
