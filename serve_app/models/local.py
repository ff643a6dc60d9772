"""Models that their owner put on the disk."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from providers.pulling import ModelUnavailable

if TYPE_CHECKING:
    from serve_app.models.remote import Remote
    from serve_app.models.transport import Transport


@dataclass(frozen=True, slots=True)
class LocalPlace:
    source: str
    path: Path
    remote = False

    def local(self) -> Path | None:
        return self.path if os.access(self.path, os.R_OK) else None

    def missing(self, transport: "Transport") -> "list[Remote]":
        if self.path.exists():
            raise ModelUnavailable("model_unreadable", f"The model file {self.path} cannot be read by this user.")
        raise ModelUnavailable("model_missing", f"The model file {self.path} does not exist.")
