"""`/v1/audio/voices` and `/v1/audio/models`: what there is to speak with, as Open WebUI asks for it.

OpenAI has no such list: https://docs.openwebui.com/features/media-generation/audio/text-to-speech/ . Neither wakes a
slot: its configuration and its model's files tell, if these are on this node.
"""

import threading
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from providers.base import JsonObject, ModelFiles
from providers.capabilities import Capability, Operation
from providers.pulling import ModelUnavailable, PullCancelled
from providers.registry import provider
from providers.spec import SlotSpec
from providers.voices import Voice
from serve_app.audio.threads import in_thread
from serve_app.audio.voice_source import VoiceSource, takes_brought
from serve_app.directory import SlotDirectory
from serve_app.models.store import ModelStore

FRESH_S = 5.0
"""Clients ask for all lists at once, and again for each page."""

VoicesOf = Callable[[SlotSpec, ModelFiles | None], tuple[Voice, ...]]


def voices_of(slot: SlotSpec, model: ModelFiles | None) -> tuple[Voice, ...]:
    return provider(slot.provider).voices(slot, model)


class VoicesApi:
    """`brought` are the voices of clients, which every slot that clones can speak with."""

    def __init__(
        self,
        directory: SlotDirectory,
        store: ModelStore,
        brought: VoiceSource,
        voices_of: VoicesOf = voices_of,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._directory, self._store, self._brought = directory, store, brought
        self._voices_of, self._fresh_s = voices_of, fresh_s
        self._known: dict[str, tuple[float, tuple[Voice, ...]]] = {}

    async def voices(self, request: Request) -> Response:
        """Of the slot that `?model=` names, or of all that speak. Raises as `SlotDirectory` does."""
        name = request.query_params.get("model")
        slots = [self._directory.find(name, Operation.SPEECH)] if name else self._speakers()
        clones = {slot.name: takes_brought(self._directory, slot) for slot in slots}
        listed = await in_thread(lambda: [one for slot in slots for one in self._listed(slot, clones[slot.name])])
        return JSONResponse({"object": "list", "voices": listed})

    async def models(self, _: Request) -> Response:
        speakers = [{"id": slot.name, "name": slot.name} for slot in self._speakers()]
        return JSONResponse({"object": "list", "models": speakers})

    def _speakers(self) -> Sequence[SlotSpec]:
        return [slot for slot in self._directory.slots.values() if slot.offers(Capability.SPEECH)]

    def _listed(self, slot: SlotSpec, clones: bool) -> list[JsonObject]:
        voices = list(self._own(slot))
        if clones:
            voices += [Voice(voice.id, voice.name) for voice in self._brought.list()]
        return [_entry(voice, slot.name) for voice in voices]

    def _own(self, slot: SlotSpec) -> tuple[Voice, ...]:
        until, voices = self._known.get(slot.name, (0.0, ()))
        if time.monotonic() >= until:
            voices = self._voices_of(slot, self._files(slot))
            self._known[slot.name] = (time.monotonic() + self._fresh_s, voices)
        return voices

    def _files(self, slot: SlotSpec) -> ModelFiles | None:
        if not self._store.present(slot):
            return None
        no_pull = threading.Event()
        no_pull.set()
        try:
            return self._store.fetch(slot, cancelled=no_pull)
        except (ModelUnavailable, PullCancelled):  # removed in this moment
            return None


def _entry(voice: Voice, slot: str) -> JsonObject:
    return {
        "id": voice.id,
        "name": voice.name,
        "language": voice.language or None,
        "gender": voice.gender or None,
        "model": slot,
    }
