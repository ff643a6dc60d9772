"""What is said in a sample of a voice, by the first slot that transcribes."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import IO

import aiohttp

from providers.asr.messages import Done, Start
from providers.asr.recognizer import Asked, Segment
from providers.capabilities import Capability, Operation
from providers.spec import SlotSpec
from serve_app.audio.clone_request import TRANSCRIPT_FIELDS, in_one_line
from serve_app.audio.decode import Audio, opened
from serve_app.audio.recognition import Engine
from serve_app.audio.rendering import pieces
from serve_app.directory import SlotDirectory
from serve_app.dispatch import Dispatch
from serve_app.errors import BadRequest
from serve_app.leases import Lease, LeasePool
from serve_app.patience import Patience, WaitingRequest
from serve_app.reply import Reply

ASKED = Asked()


class Transcriber:
    def __init__(
        self,
        directory: SlotDirectory,
        pools: Mapping[str, LeasePool],
        http: aiohttp.ClientSession,
        patience: Patience,
    ) -> None:
        self._directory, self._http = directory, http
        self._dispatch = Dispatch(pools, patience)

    def slot(self) -> SlotSpec:
        """Raises 400 if there is none."""
        for slot in self._directory.slots.values():
            if slot.offers(Capability.TRANSCRIPTION):
                return slot
        message = f"No slot here finds out what is said; send it in the field '{TRANSCRIPT_FIELDS[0]}'."
        raise BadRequest(400, message, "missing_transcript", TRANSCRIPT_FIELDS[0])

    async def transcript(self, slot: SlotSpec, file: IO[bytes], priority: int | None, reply: Reply) -> str:
        """Raises 400 if nothing is understood, and what keeps the slot from answering."""
        path = self._directory.route(slot, Operation.TRANSCRIPTION).path
        waiting = WaitingRequest(slot, priority, light=False, streams=False, shows_progress=False)
        found: list[Segment] = []

        async def attempt(lease: Lease) -> None:
            found[:] = await _heard(Engine(self._http, slot.name, lease.endpoint, path), audio)

        async with opened(file) as audio:
            await self._dispatch.run(waiting, reply, attempt)
        text = in_one_line("".join(pieces(found, ASKED)))
        if not text:
            message = f"Slot '{slot.name}' understands no word of the audio; send what is said in the field "
            raise BadRequest(400, f"{message}'{TRANSCRIPT_FIELDS[0]}'.", "no_speech", "file")
        return text


async def _heard(engine: Engine, audio: Audio) -> list[Segment]:
    async with aclosing(engine.hear(Start(asked=ASKED), audio)) as events:
        return [event.segment async for event in events if not isinstance(event, Done)]
