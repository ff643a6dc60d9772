"""Where the voices are that clients have brought."""

from collections.abc import Sequence
from typing import Protocol

from providers.tts.synthesizer import Reference


class BroughtVoice(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


class VoiceSource(Protocol):
    def list(self) -> Sequence[BroughtVoice]:
        """Blocks as disks do."""

    async def reference(self, name: str) -> Reference | None:
        """What an engine needs to speak as the voice of this name or id does; None: there is none."""
