"""A file that is elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from providers.pulling import ModelUnavailable
from serve_app.models.checksum import Checksum
from serve_app.models.partial import Partial
from serve_app.models.transport import Failure


@dataclass(frozen=True, slots=True)
class Remote:
    """Its address, and where it belongs here. `size` in bytes, where it is known beforehand."""

    source: str
    name: str
    """For people: what progress is told of."""
    url: str
    headers: Mapping[str, str]
    target: Path
    partial: Partial
    lock: Path
    size: int | None
    checksum: Checksum | None
    immutable: bool
    """Whether the address will always have the same bytes, so that a beginning needs no proof to be continued."""
    unavailable: Callable[[Failure], ModelUnavailable]
    """The final failure in the user's terms."""
    arrived: Callable[[], None]
    """Called once the file is at `target`, under the lock."""
