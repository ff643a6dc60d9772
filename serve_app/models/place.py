"""What a source is to the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from serve_app.models.remote import Remote
    from serve_app.models.transport import Transport


class Place(Protocol):
    @property
    def source(self) -> str: ...

    @property
    def remote(self) -> bool:
        """Whether it takes a network to get what is not here."""

    def local(self) -> Path | None:
        """The file or folder, if all of it is on this node's disk. Cheap."""

    def missing(self, transport: "Transport") -> "list[Remote]":
        """The files that have to be pulled. May ask the network. Raises `ModelUnavailable`, `PullCancelled`."""
