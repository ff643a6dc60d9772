"""What the Hub tells of its files, and its refusals in the user's terms."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from huggingface_hub import constants, get_token

from providers.pulling import ModelUnavailable
from serve_app.models.hub_cache import TreeFile
from serve_app.models.patience import patiently, retry_after_s
from serve_app.models.transport import Failure, Kind, Transport

if TYPE_CHECKING:
    from serve_app.models.hub import HubPlace

T = TypeVar("T")

NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")
"""What may name a file in the cache."""


def hub_headers() -> dict[str, str]:
    """HF_TOKEN, or the token that a login left, is among them."""
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"User-Agent": "hal0"} | ({"Authorization": f"Bearer {token}"} if token else {})


def file_url(repo: str, revision: str, file: str) -> str:
    return f"{constants.ENDPOINT}/{repo}/resolve/{quote(revision, safe='')}/{quote(file)}"


@dataclass(frozen=True, slots=True)
class HubApi:
    """Both questions raise `ModelUnavailable` and `PullCancelled`."""

    place: "HubPlace"
    transport: Transport

    def find(self, file: str) -> tuple[str, TreeFile]:
        """A file of the place's revision, and the commit that has it.

        A commit that is in the cache already goes first, so that the files of a repository stay of one commit.
        """
        return self._known_commit_first(lambda revision: self._head(revision, file))

    def tree(self, folder: str) -> tuple[str, list[TreeFile]]:
        """The commit of the place's revision, and all of its files; some are in `folder`, which ends in a slash or is
        empty. A commit in the cache goes first here, too."""
        try:
            return self._known_commit_first(lambda revision: self._tree(revision, folder))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._no_hub() from error

    def _known_commit_first(self, ask: Callable[[str], T]) -> T:
        revision = self.place.revision
        known = self.place.cache.commit(revision) or revision
        try:
            try:
                return ask(known)
            except Failure as failure:
                if failure.status != 404 or known == revision:
                    raise
            return ask(revision)
        except Failure as failure:
            raise unavailable(self.place.source, failure) from failure

    def _tree(self, revision: str, folder: str) -> tuple[str, list[TreeFile]]:
        address = f"{constants.ENDPOINT}/api/models/{self.place.repo}"
        info, _ = self._json(f"{address}/revision/{quote(revision, safe='')}")
        commit = self._named(info["sha"])
        files: list[TreeFile] = []
        page: str | None = f"{address}/tree/{commit}?recursive=true"
        while page:
            entries, page = self._json(page)
            files += [self._listed(one) for one in entries if one["type"] == "file"]
        if not any(one.path.startswith(folder) for one in files):
            # As the Hub answers for a file that a commit does not have.
            raise Failure(Kind.REFUSED, f"lists nothing in {folder}", 404, {"x-error-code": "EntryNotFound"})
        return commit, files

    def _head(self, revision: str, file: str) -> tuple[str, TreeFile]:
        url = file_url(self.place.repo, revision, file)
        headers = self._patiently(lambda: self.transport.head(url, hub_headers()))
        etag = headers.get("x-linked-etag") or headers.get("etag", "")
        size = headers.get("x-linked-size") or headers.get("content-length", "")
        if not size.isdigit():
            raise self._no_hub()
        commit = self._named(headers.get("x-repo-commit", ""))
        return commit, TreeFile(file, int(size), self._named(etag.removeprefix("W/").strip('"')), None)

    def _json(self, url: str) -> tuple[Any, str | None]:
        def ask() -> tuple[str, str | None]:
            with self.transport.get(url, hub_headers()) as answer:
                return answer.text(), answer.next_page

        text, following = self._patiently(ask)
        return json.loads(text), following

    def _patiently(self, ask: Callable[[], T]) -> T:
        return patiently(self.transport.cancelled, ask)

    def _listed(self, entry: Mapping[str, Any]) -> TreeFile:
        path, lfs = PurePosixPath(entry["path"]), entry.get("lfs")
        if path.is_absolute() or ".." in path.parts:
            raise self._no_hub()
        oid = self._named(entry["oid"])
        return TreeFile(str(path), int(entry["size"]), oid, self._named(lfs["oid"]) if lfs else None)

    def _named(self, name: str) -> str:
        if NAME.fullmatch(name) is None:
            raise self._no_hub()
        return name

    def _no_hub(self) -> ModelUnavailable:
        return ModelUnavailable(
            "hub_refused", f"{constants.ENDPOINT} does not answer as a Hub does. Check HF_ENDPOINT and any proxy."
        )


def unavailable(source: str, failure: Failure) -> ModelUnavailable:
    """The last failure of a pull from the Hub, most specific first."""
    hub, told = constants.ENDPOINT, failure.headers.get("x-error-code")
    if failure.kind in (Kind.UNREACHABLE, Kind.CUT):
        return ModelUnavailable(
            "hub_unreachable",
            f"'{source}' is not on this node and the Hub {hub} {failure.detail}. Check the network or HF_ENDPOINT, "
            "or give the slot a local path.",
        )
    if failure.kind is Kind.SILENT:
        return ModelUnavailable(
            "pull_timeout", f"The Hub {hub} {failure.detail}, several times. What has come of '{source}' is kept."
        )
    if told == "RepoNotFound":
        return ModelUnavailable(
            "model_not_found", f"The Hub knows no repository of '{source}', or it is private: set HF_TOKEN."
        )
    if failure.status in (401, 403):
        return ModelUnavailable("model_gated", _gated(source, failure))
    if failure.status == 404:
        return ModelUnavailable("model_not_found", _not_found(source, told))
    asked = retry_after_s(failure)
    later = "" if asked is None else f" It asks to wait {asked:.0f} s."
    return ModelUnavailable("hub_refused", f"The Hub {hub} {failure.detail} for '{source}'.{later}")


def _gated(source: str, failure: Failure) -> str:
    if "Invalid credentials" in failure.headers.get("x-error-message", ""):
        return f"The Hub does not know the token that was sent for '{source}'. Set HF_TOKEN to a valid one."
    return (
        f"'{source}' is gated (the Hub {failure.detail}): accept its terms on the Hub and set HF_TOKEN to a token of "
        "yours that may read it."
    )


def _not_found(source: str, told: str | None) -> str:
    if told == "RevisionNotFound":
        return f"The repository has no such revision: '{source}'."
    what, hint = ("folder", "a file has no slash") if source.endswith("/") else ("file", "a folder has a slash")
    or_revision = "" if told == "EntryNotFound" else " or revision"
    return f"The repository has no such {what}{or_revision}: '{source}'. Check the name; {hint} at its end."
