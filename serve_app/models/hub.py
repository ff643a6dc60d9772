"""Models on the Hugging Face Hub: `hf://org/repo[@revision][/file or /folder/]`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from providers.pulling import ModelUnavailable
from serve_app.models.hub_cache import HubCache, TreeFile

if TYPE_CHECKING:
    from serve_app.models.remote import Remote
    from serve_app.models.transport import Transport

NAME = r"(?!\.{1,2}(?:/|$))[\w.+-]+"
"""One part of a path; those that lead elsewhere are none."""
FORM = re.compile(rf"hf://(?P<repo>{NAME}/{NAME})(?:@(?P<revision>{NAME}))?(?:/(?P<path>{NAME}(?:/{NAME})*/?))?")
ALLOWED = "hf://org/repo[@revision], with /path/of/file or /path/of/folder/ behind it for a part of the repository"
MAIN = "main"
PARTIAL = ".incomplete"
"""huggingface-hub's own ending, so that its tools find and remove what was left."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """`path` names a file; with a slash at its end, a folder; empty, the whole repository."""

    source: str
    repo: str
    revision: str
    path: str
    remote = True

    @classmethod
    def of(cls, source: str) -> "HubPlace":
        """Raises `ModelUnavailable`."""
        match = FORM.fullmatch(source)
        if match is None:
            raise ModelUnavailable("bad_source", f"'{source}' is no Hub source; allowed: {ALLOWED}.")
        return cls(source, match["repo"], match["revision"] or MAIN, match["path"] or "")

    @property
    def cache(self) -> HubCache:
        return HubCache.of(self.repo)

    @property
    def is_file(self) -> bool:
        return self.path != "" and not self.path.endswith("/")

    def local(self) -> Path | None:
        if self.is_file:
            return self.cache.file(self.revision, self.path)
        return self.cache.whole(self.revision, self.path)

    def missing(self, transport: "Transport") -> "list[Remote]":
        from serve_app.models.hub_api import HubApi
        from serve_app.models.room import storing

        api = HubApi(self, transport)
        if self.is_file:
            commit, found = api.find(self.path)
            return [self._remote(commit, found)]
        commit, files = api.tree(self.path)
        snapshot = self.cache.snapshot(commit)
        lacking = [one for one in files if one.path.startswith(self.path) and not (snapshot / one.path).is_file()]
        with storing(self.source, self.cache.folder):
            self.cache.write_tree(commit, files)
            if not lacking:
                self.cache.name(self.revision, commit)
        return [self._remote(commit, one) for one in lacking]

    def _remote(self, commit: str, found: TreeFile) -> "Remote":
        from serve_app.models.checksum import Checksum
        from serve_app.models.hub_api import file_url, hub_headers, unavailable
        from serve_app.models.partial import Partial
        from serve_app.models.remote import Remote

        cache = self.cache
        blob = cache.blob(found.etag)
        return Remote(
            source=f"{self.source.removesuffix(self.path).rstrip('/')}/{found.path}",
            name=f"{self.repo}/{found.path}",
            url=file_url(self.repo, commit, found.path),
            headers=hub_headers(),
            target=blob,
            partial=Partial(blob.with_name(blob.name + PARTIAL)),
            lock=cache.lock(found.etag),
            size=found.size,
            checksum=Checksum.of_etag(found.etag),
            immutable=True,
            unavailable=lambda failure: unavailable(self.source, failure),
            arrived=lambda: cache.link(self.revision, commit, found.path, found.etag),
        )
