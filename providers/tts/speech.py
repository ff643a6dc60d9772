"""One text that is being spoken to a client."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aiohttp import web
from pydantic import ValidationError

from providers.errors import InvalidRequest
from providers.native.server import refusal
from providers.tts.messages import CONTENT_TYPE, RATE_HEADER, SpeechRequest
from providers.tts.pipeline import Pipeline
from providers.tts.synthesizer import Manner

KERNEL_BUFFER = 64 * 1024
"""Bytes of a client's sound that the kernel holds; by itself it would take minutes of it."""

OpenPipeline = Callable[[Callable[[], bool]], Pipeline]
"""Takes what says that nobody listens any more."""


class Speech:
    """A `Visit`. `response` is the answer to its request, once it has been served."""

    def __init__(
        self, request: web.Request, open_pipeline: OpenPipeline, sample_rate: int, log: logging.Logger
    ) -> None:
        self._request, self._open_pipeline, self._log = request, open_pipeline, log
        self._transport = request.transport
        self._reason: str | None = None
        """Why the server ends it."""
        headers = {"Content-Type": CONTENT_TYPE, RATE_HEADER: str(sample_rate)}
        self.response: web.StreamResponse = web.StreamResponse(headers=headers)

    async def serve(self) -> None:
        """What goes wrong before the first sentence is a status; what goes wrong later breaks the connection."""
        try:
            text, manner = understood(await self._request.read())
            async with aclosing(self._open_pipeline(self._gone).sounds(text, manner)) as sounds:
                await self._answer(sounds)
        except web.HTTPRequestEntityTooLarge as error:
            self._fail(413, error.text or error.reason)
        except InvalidRequest as error:
            self._fail(400, error.message, error.code, error.param)
        except ConnectionError:
            self.abort()
        except Exception as error:
            self._log.error("a text cannot be spoken: %s", error, exc_info=error)
            self._fail(500, str(error) or type(error).__name__)

    async def hang_up(self, reason: str) -> None:
        self._reason = reason
        if self.response.prepared:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _answer(self, sounds: AsyncGenerator[bytes]) -> None:
        first = await anext(sounds, None)
        if self._gone():
            return self._fail(503, self._reason or "The client has left.")
        if first is None:
            raise InvalidRequest("The model finds nothing in the text that it can speak.", "input", "empty_input")
        self._bound_kernel()
        await self.response.prepare(self._request)
        await self.response.write(first)
        async for sound in sounds:
            await self.response.write(sound)

    def _gone(self) -> bool:
        return self._reason is not None or self._transport is None or self._transport.is_closing()

    def _fail(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        if self.response.prepared:
            self.abort()
        else:
            self.response = refusal(status, message, code, param)

    def _bound_kernel(self) -> None:
        link = self._transport.get_extra_info("socket") if isinstance(self._transport, asyncio.Transport) else None
        if link is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)


def understood(body: bytes) -> tuple[str, Manner]:
    """Raises `InvalidRequest`, which repeats nothing of the text."""
    try:
        request = SpeechRequest.model_validate_json(body)
        manner = request.manner
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"Not a request for speech: {where or 'JSON'}: {first['msg'][:200]}.", where) from error
    except ValueError as error:
        raise InvalidRequest("The reference's pcm is no base64.", "reference.pcm") from error
    if bool(manner.blend) == (manner.reference is not None):
        raise InvalidRequest("One of 'blend' and 'reference' says with which voice to speak.", "voice")
    if manner.reference is not None and len(manner.reference.pcm) % 2:
        raise InvalidRequest("The reference's pcm must have whole samples of 16 bits.", "reference.pcm")
    return request.text, manner
