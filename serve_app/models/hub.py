"""Models on the Hugging Face Hub: `hf://org/repo[@revision][/file]`."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from serve_app.models.errors import ModelUnavailable
from serve_app.models.hub_cache import HubCache, TreeFile

if TYPE_CHECKING:
    from serve_app.models.remote import Remote
    from serve_app.models.transport import Transport

FORM = re.compile(r"^hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?(?=/|$)))?(?:/(?P<file>[\w./+-]+))?$")
MAIN = "main"
PARTIAL = ".incomplete"
"""huggingface-hub's own ending, so that its tools find and remove what was left."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """`file` None: the whole repository."""

    source: str
    repo: str
    revision: str
    file: str | None
    remote = True

    @classmethod
    def of(cls, source: str) -> "HubPlace":
        """Raises `ModelUnavailable`."""
        match = FORM.match(source)
        if match is None or ".." in PurePosixPath(source).parts:
            allowed = "hf://org/repo[@revision][/file]"
            raise ModelUnavailable("bad_source", f"'{source}' is no Hub source; allowed: {allowed}.")
        return cls(source, match["repo"], match["revision"] or MAIN, match["file"])

    @property
    def cache(self) -> HubCache:
        return HubCache.of(self.repo)

    def local(self) -> Path | None:
        if self.file:
            return self.cache.file(self.revision, self.file)
        return self.cache.whole(self.revision)

    def missing(self, transport: "Transport") -> "list[Remote]":
        from serve_app.models.hub_api import HubApi
        from serve_app.models.room import storing

        api = HubApi(self, transport)
        if self.file:
            commit, found = api.find(self.file)
            return [self._remote(commit, found)]
        commit, files = api.tree()
        lacking = [one for one in files if not (self.cache.snapshot(commit) / one.path).is_file()]
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
            source=self.source if self.file else f"{self.source}/{found.path}",
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
