"""`/v1/audio/transcriptions` and `/v1/audio/translations`: a file of speech in, text in whatever format out."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from providers.asr.messages import Done, Start
from providers.asr.recognizer import Segment
from providers.base import Route
from providers.capabilities import Operation
from providers.errors import InvalidRequest, ProviderError, UnsupportedRequest
from providers.spec import SlotSpec
from serve_app.audio.decode import LONGEST_S, Audio, opened
from serve_app.audio.fields import Fields
from serve_app.audio.recognition import Engine
from serve_app.audio.rendering import Text, Transcript, delta_event, done_event, rendered
from serve_app.audio.request import TranscriptionRequest, parsed
from serve_app.audio.upload import UploadLimits, uploaded
from serve_app.directory import SlotDirectory
from serve_app.dispatch import Dispatch, priority_of
from serve_app.errors import BadRequest, ServingError
from serve_app.http_io import until_client_leaves
from serve_app.leases import Lease, LeasePool
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply


@dataclass(frozen=True, slots=True)
class Job:
    """One request, and where it goes."""

    request: TranscriptionRequest
    waiting: WaitingRequest
    route: Route

    @property
    def slot(self) -> SlotSpec:
        return self.waiting.slot


class Transcriptions:
    """An ASGI application for one operation."""

    def __init__(
        self,
        operation: Operation,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        limits: UploadLimits,
        patience: Patience,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._operation, self._directory, self._http = operation, directory, http
        self._limits, self._longest_s = limits, longest_s
        self._dispatch = Dispatch(pools, patience)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        priority = priority_of(headers)
        async with uploaded(headers, receive, self._limits) as form, until_client_leaves(receive):
            job = self._job(parsed(Fields(form.fields), self._operation), priority)
            scope["slot"] = job.slot.name
            # Before a lease is asked for: a file that is none wakes no slot.
            async with opened(form.file, self._longest_s) as audio:
                await self._answer(job, audio, Reply(send, anthropic=False))

    async def _answer(self, job: Job, audio: Audio, reply: Reply) -> None:
        try:
            await self._dispatch.run(job.waiting, reply, lambda lease: self._attempt(lease, job, audio, reply))
        except (ServingError, ProviderError) as error:
            if not reply.begun:
                raise
            await reply.fail(error)

    def _job(self, request: TranscriptionRequest, priority: int | None) -> Job:
        slot = self._directory.find(request.model, self._operation)
        route = self._directory.route(slot, self._operation)
        try:
            _check(request, route, slot)
        except UnsupportedRequest as error:
            others = self._others(request)
            choice = f"Slots that can: {', '.join(others)}." if others else "No slot of this server can."
            raise UnsupportedRequest(f"{error.message} {choice}", error.param, error.code) from error
        waiting = WaitingRequest(
            slot, priority, light=False, streams=request.streams, shows_progress=False, queued=route.queued
        )
        return Job(request, waiting, route)

    def _others(self, request: TranscriptionRequest) -> list[str]:
        """Slots that would take the request as it is."""
        able = []
        for slot in self._directory.slots.values():
            try:
                _check(request, self._directory.route(slot, self._operation), slot)
            except (BadRequest, InvalidRequest):
                continue
            able.append(slot.name)
        return able

    async def _attempt(self, lease: Lease, job: Job, audio: Audio, reply: Reply) -> None:
        engine = Engine(self._http, job.slot.name, lease.endpoint, job.route.path)
        if job.request.streams:
            await _stream(engine, job, audio, reply)
        else:
            await _whole(engine, job, audio, reply)


def _check(request: TranscriptionRequest, route: Route, slot: SlotSpec) -> None:
    if route.translate is not None:
        route.translate(request.checked_by_providers(), slot)


def _start(job: Job) -> Start:
    return Start(asked=job.request.asked, turns=job.request.turns)


async def _whole(engine: Engine, job: Job, audio: Audio, reply: Reply) -> None:
    segments: list[Segment] = []
    async with aclosing(engine.hear(_start(job), audio)) as events:
        async for event in events:
            if isinstance(event, Done):
                transcript = Transcript(segments, event.duration_s, event.language)
                content_type, body = rendered(transcript, job.request)
                await reply.whole(200, [(b"content-type", content_type)], body)
            else:
                segments.append(event.segment)


async def _stream(engine: Engine, job: Job, audio: Audio, reply: Reply) -> None:
    """The status goes with the first event, so what fails after that is an event, too."""
    text = Text(job.request.asked)
    async with aclosing(engine.hear(_start(job), audio)) as events:
        async for event in events:
            await reply.begin_stream()
            if isinstance(event, Done):
                await reply.chunk(done_event(text.whole, event.duration_s))
            elif piece := text.add(event.segment):
                await reply.chunk(delta_event(piece))
    await reply.end()
