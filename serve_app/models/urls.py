"""Models at plain addresses: `https://host/file#sha256=HEX`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from providers.pulling import ModelUnavailable

if TYPE_CHECKING:
    from serve_app.models.remote import Remote
    from serve_app.models.transport import Failure, Transport

FORM = re.compile(r"^(?P<url>https?://[^#\s]+)(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?$")
FOLDER = "urls"
PARTIAL = ".part"
SOURCE = ".source"


@dataclass(frozen=True, slots=True)
class UrlPlace:
    """A folder of its own under `root`, named after the source; `<folder>.source` says which source that is."""

    root: Path
    source: str
    url: str
    sha256: str | None
    remote = True

    @classmethod
    def of(cls, source: str, root: Path) -> "UrlPlace":
        """Raises `ModelUnavailable`."""
        match = FORM.match(source)
        if match is None:
            allowed = "https://host/file or https://host/file#sha256=64 hex digits"
            raise ModelUnavailable("bad_source", f"'{source}' is no URL source; allowed: {allowed}.")
        return cls(root, source, match["url"], match["sha256"])

    @property
    def folder(self) -> Path:
        return self.root / hashlib.sha256(self.source.encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        return self.folder / (self.url.split("?")[0].rsplit("/", 1)[-1] or "model")

    def local(self) -> Path | None:
        return self.path if self.path.exists() else None

    def missing(self, transport: "Transport") -> "list[Remote]":
        """Asks nobody: some servers know no HEAD, and the size comes with the file."""
        from serve_app.models.checksum import Checksum
        from serve_app.models.partial import Partial
        from serve_app.models.remote import Remote

        one = Remote(
            source=self.source,
            name=self.url.split("://", 1)[1].split("?")[0],
            url=self.url,
            headers={},
            target=self.path,
            partial=Partial(self.path.with_name(self.path.name + PARTIAL)),
            lock=lock_of(self.folder),
            size=None,
            checksum=Checksum("sha256", self.sha256.lower()) if self.sha256 else None,
            immutable=False,
            unavailable=self._unavailable,
            arrived=self._arrived,
        )
        return [one]

    def _arrived(self) -> None:
        self.folder.with_suffix(SOURCE).write_text(self.source, encoding="utf-8")

    def _unavailable(self, failure: "Failure") -> ModelUnavailable:
        from serve_app.models.transport import Kind

        what = f"{self.url} {failure.detail}"
        if failure.kind is Kind.SILENT:
            return ModelUnavailable("pull_timeout", f"{what}, several times; what has come is kept. Try again later.")
        if failure.kind in (Kind.UNREACHABLE, Kind.CUT):
            return ModelUnavailable("model_unreachable", f"{what}. Check the address and the network.")
        if failure.status in (401, 403):
            return ModelUnavailable("model_gated", f"{what}: it wants a login, and plain URLs are fetched without one.")
        if failure.status in (404, 410):
            return ModelUnavailable("model_not_found", f"{what}: there is no such file. Check the address.")
        return ModelUnavailable("model_refused", f"{what}.")


def lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")
