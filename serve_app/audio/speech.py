"""`/v1/audio/speech`: text in, sound out while it is being spoken.

https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import aiohttp
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from providers.base import JsonObject, Route
from providers.capabilities import Operation
from providers.errors import ProviderError
from providers.spec import SlotSpec
from providers.tts.dialect import SpeechRoute, unknown_voice
from providers.tts.messages import SpeechRequest
from serve_app.audio.encode import SAMPLE_BYTES, Encoder, EncodingFailed, encoder
from serve_app.audio.speech_engine import Speaking, spoken
from serve_app.audio.speech_reply import EventReply, FileReply, SpeechReply, Usage
from serve_app.audio.speech_request import Answering
from serve_app.audio.threads import in_thread
from serve_app.audio.voice_source import VoiceSource
from serve_app.directory import SlotDirectory
from serve_app.dispatch import Dispatch, NotBegun, priority_of
from serve_app.errors import BadRequest, EngineDied, ServingError
from serve_app.http_io import UPLOAD_TIMEOUT_S, parse_object, read_body, until_client_leaves
from serve_app.leases import Lease, LeasePool
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

logger = logging.getLogger("hal0.speech")


@dataclass(frozen=True, slots=True)
class Job:
    """One request as the engine gets it, and how it is answered."""

    waiting: WaitingRequest
    route: Route
    request: SpeechRequest
    answering: Answering

    @property
    def slot(self) -> str:
        return self.waiting.slot.name


class Speech:
    """An ASGI application. `voices` are those that clients have brought."""

    def __init__(
        self,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        max_body_bytes: int,
        patience: Patience,
        voices: VoiceSource,
        upload_timeout_s: float = UPLOAD_TIMEOUT_S,
    ) -> None:
        self._directory, self._http, self._voices = directory, http, voices
        self._dispatch = Dispatch(pools, patience)
        self._max_body_bytes, self._upload_timeout_s = max_body_bytes, upload_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        priority = priority_of(headers)
        payload = parse_object(await read_body(headers, receive, self._max_body_bytes, self._upload_timeout_s))
        async with until_client_leaves(receive):
            job = await self._job(payload, priority, scope)
            if job.answering.as_events:
                await self._as_events(job, Reply(send, anthropic=False))
            else:
                # Once it has begun, an error ends the connection: the edge sees to that.
                await self._speak(job, Reply(send, anthropic=False), FileReply(send, job.answering.format))

    async def _job(self, payload: JsonObject, priority: int | None, scope: Scope) -> Job:
        answering = Answering.of(payload)
        slot = self._directory.find(payload.get("model"), Operation.SPEECH)
        scope["slot"] = slot.name
        route = self._directory.route(slot, Operation.SPEECH)
        assert isinstance(route, SpeechRoute) and route.translate is not None
        request = SpeechRequest.model_validate(route.translate(payload, slot).request)
        request = await self._with_voice(request, route, slot)
        waiting = WaitingRequest(slot, priority, light=False, streams=answering.as_events, shows_progress=False)
        return Job(waiting, route, request, answering)

    async def _with_voice(self, request: SpeechRequest, route: SpeechRoute, slot: SlotSpec) -> SpeechRequest:
        """Before a lease is asked for: a voice that nobody has brought wakes no slot."""
        name = request.blend[0].voice
        if not route.book(slot).brought(name):
            return request
        found = await self._voices.reference(name)
        if found is None:
            known = [voice.name for voice in await in_thread(self._voices.list)]
            raise unknown_voice(name, (*known, *(route.book(slot).voices or ())))
        return SpeechRequest.of(request.text, replace(request.manner, blend=(), reference=found))

    async def _as_events(self, job: Job, reply: Reply) -> None:
        try:
            await self._speak(job, reply, EventReply(reply))
        except (ServingError, ProviderError) as error:
            if not reply.begun:
                raise
            await reply.fail(error)

    async def _speak(self, job: Job, waiting: Reply, reply: SpeechReply) -> None:
        body = job.request.model_dump_json().encode()
        await self._dispatch.run(job.waiting, waiting, lambda lease: self._attempt(lease, job, body, reply))

    async def _attempt(self, lease: Lease, job: Job, body: bytes, reply: SpeechReply) -> None:
        async with spoken(self._http, job.slot, lease.endpoint, job.route, body) as speaking:
            coder = encoder(job.answering.format, speaking.rate)
            try:
                seconds = await _pass_on(speaking, coder, reply)
            except EngineDied as error:
                if reply.begun:
                    raise
                raise NotBegun(error.detail) from error
            except EncodingFailed as error:
                logger.error("slot %s: %s", job.slot, error)
                raise
            finally:
                coder.close()
        await reply.end(Usage(len(job.request.text), seconds))


async def _pass_on(speaking: Speaking, coder: Encoder, reply: SpeechReply) -> float:
    """All of the speech; the answer is not ended yet. The seconds that it lasts."""
    heard = 0
    async with aclosing(speaking.pieces()) as pieces:
        async for piece in pieces:
            heard += len(piece)
            if encoded := await _encoded(coder, partial(coder.feed, piece)):
                await reply.audio(encoded)
    if heard and (rest := await _encoded(coder, coder.finish)):
        await reply.audio(rest)
    if not reply.begun:
        message = "There is nothing in 'input' that this voice can speak."
        raise BadRequest(400, message, "nothing_to_speak", "input")
    return heard / SAMPLE_BYTES / speaking.rate


async def _encoded(coder: Encoder, work: Callable[[], bytes]) -> bytes:
    """A thread for each piece costs more than to pass it on."""
    return await in_thread(work) if coder.computes else work()
