"""Fetching models, in the words that whoever fetches shares with whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from providers.base import ModelFiles


@dataclass(frozen=True, slots=True)
class PullProgress:
    """All files together that one pull has to bring; None where it is not known."""

    bytes_done: int
    """What an earlier pull left on the disk included."""
    bytes_total: int | None
    bytes_per_second: float | None
    """Over the last seconds."""
    eta_seconds: float | None
    file: str
    """The one that is being pulled."""


class ModelUnavailable(Exception):
    """A model cannot be had; `code` tells why in a word, the message what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class PullCancelled(Exception):
    """A pull was given up because its owner asked. What has come stays, and the next pull goes on from there."""


class OwnModels(Protocol):
    """A slot's models where the engine itself keeps and fetches them."""

    def present(self) -> bool:
        """Whether nothing needs pulling. Looks at the disk alone, for less than a millisecond; never raises."""

    def fetch(self, on_progress: Callable[[PullProgress], None] | None, cancelled: Event) -> "ModelFiles":
        """Pulled where they are missing. Blocks; raises `ModelUnavailable`, and `PullCancelled` within a second after
        `cancelled` was set."""
