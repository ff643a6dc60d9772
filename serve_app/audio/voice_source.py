"""Where the voices are that clients have brought."""

from collections.abc import Sequence
from typing import Protocol

from providers.capabilities import Operation
from providers.spec import SlotSpec
from providers.tts.dialect import SpeechRoute
from providers.tts.synthesizer import Reference
from serve_app.directory import SlotDirectory


class BroughtVoice(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


def takes_brought(directory: SlotDirectory, slot: SlotSpec) -> bool:
    """Whether the slot speaks with voices that clients bring. Raises 400 for one that does not speak."""
    route = directory.route(slot, Operation.SPEECH)
    return isinstance(route, SpeechRoute) and route.book(slot).clones


class VoiceSource(Protocol):
    def list(self) -> Sequence[BroughtVoice]:
        """Blocks as disks do."""

    async def reference(self, name: str) -> Reference | None:
        """What an engine needs to speak as the voice of this name or id does; None: there is none."""
