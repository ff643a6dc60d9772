"""`POST /v1/audio/voices`: somebody's voice in, to speak with from then on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import aiohttp
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from providers.capabilities import Capability, Operation
from providers.spec import SlotSpec
from serve_app.audio.clone_api import described
from serve_app.audio.clone_request import FILE_FIELDS, CloneRequest, parsed
from serve_app.audio.clone_sample import sample_of
from serve_app.audio.clone_transcript import Transcriber
from serve_app.audio.fields import Fields
from serve_app.audio.threads import in_thread
from serve_app.audio.upload import Form, UploadLimits, uploaded
from serve_app.audio.voice_source import takes_brought
from serve_app.directory import SlotDirectory
from serve_app.dispatch import priority_of
from serve_app.errors import BadRequest
from serve_app.http_io import JSON_TYPE, dump_json, until_client_leaves
from serve_app.leases import LeasePool
from serve_app.patience import Patience
from serve_app.reply import Reply
from serve_app.voices import Sample, VoiceStore

LIMITS = UploadLimits(max_bytes=10 * 2**20)
"""Half a minute is less than that in whatever format."""


class Cloning:
    """An ASGI application."""

    def __init__(
        self,
        store: VoiceStore,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        patience: Patience,
        limits: UploadLimits = LIMITS,
    ) -> None:
        self._store, self._directory, self._limits = store, directory, limits
        self._transcriber = Transcriber(directory, pools, http, patience)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._refuse_without_slots()
        headers = Headers(scope=scope)
        priority, reply = priority_of(headers), Reply(send, anthropic=False)
        async with uploaded(headers, receive, self._limits, FILE_FIELDS) as form, until_client_leaves(receive):
            request = parsed(Fields(form.fields))
            self._check_model(request.model)
            # Before anything is computed; the store looks once more when it adds the voice.
            await in_thread(partial(self._store.refuse, request.name))
            with errors_of(form.file_field):
                sample = await self._sample(request, form, priority, reply, scope)
            voice = await in_thread(partial(self._store.add, request.name, sample))
            await reply.whole(200, [JSON_TYPE], dump_json(described(voice)))

    async def _sample(
        self, request: CloneRequest, form: Form, priority: int | None, reply: Reply, scope: Scope
    ) -> Sample:
        pcm = await sample_of(form.file)
        if request.transcript is not None:
            return Sample(pcm, request.transcript)
        slot = self._transcriber.slot()
        scope["slot"] = slot.name
        return Sample(pcm, await self._transcriber.transcript(slot, form.file, priority, reply))

    def _refuse_without_slots(self) -> None:
        if not self._able():
            message = "No slot here clones voices, so that none could speak with this one."
            raise BadRequest(400, message, "unsupported_capability")

    def _check_model(self, model: str | None) -> None:
        if model is None or (slot := self._directory.find(model, Operation.SPEECH)) in self._able():
            return
        able = ", ".join(one.name for one in self._able())
        message = f"Slot '{slot.name}' does not clone voices. Slots that can: {able}."
        raise BadRequest(400, message, "unsupported_capability", "model")

    def _able(self) -> list[SlotSpec]:
        return [slot for slot in self._directory.slots.values() if clones(self._directory, slot)]


def clones(directory: SlotDirectory, slot: SlotSpec) -> bool:
    """Whether the slot speaks with voices that clients bring."""
    return slot.offers(Capability.SPEECH) and takes_brought(directory, slot)


@contextmanager
def errors_of(field: str) -> Iterator[None]:
    """What is wrong with the file is said of the field that it came in."""
    try:
        yield
    except BadRequest as error:
        if error.param != "file":
            raise
        raise BadRequest(error.status, error.message, error.code, field) from error
