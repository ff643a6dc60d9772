"""A slot's models where FastFlowLM keeps them: brought by `flm pull`, and believed only once they were verified."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

from providers.base import ModelFiles, Node
from providers.flm.fetching import Fetching
from providers.flm.options import FlmSlot
from providers.flm.records import Records
from providers.pulling import PullProgress


class FlmLibrary:
    def __init__(self, slot: FlmSlot, node: Node) -> None:
        self._slot, self._node = slot, node
        self._tags = tuple(dict.fromkeys(slot.models.values()))
        self._records = Records(slot, node)

    def present(self) -> bool:
        return self._here() is not None

    def fetch(self, on_progress: Callable[[PullProgress], None] | None, cancelled: Event) -> ModelFiles:
        """`main`: the folder of the slot's model; the program finds those of the other roles by itself."""
        folders = self._here()
        if folders is None:
            folders = Fetching(self._slot, self._node, self._records, self._tags, on_progress, cancelled).run()
        return ModelFiles(main=folders[self._slot.model])

    def _here(self) -> dict[str, Path] | None:
        """The folders, by tag; None if one needs fetching."""
        folders: dict[str, Path] = {}
        for tag in self._tags:
            if (folder := self._records.good(tag)) is None:
                return None
            folders[tag] = folder
        return folders
