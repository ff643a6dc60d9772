"""The model store: from a source to files on this node's disk.

Sources: `hf://org/repo[@revision][/file]`, `https://host/file#sha256=HEX`, or a path (absolute, with `~`, or relative
to the store's own folder). The Hub's part is huggingface-hub's: its cache, resume, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE.
"""

import errno
import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from providers.base import ModelFiles
from providers.spec import SlotSpec

HUB_SOURCE = re.compile(
    r"^hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?(?=/|$)))?(?:/(?P<file>[\w./+-]+))?$"
)
URL_SOURCE = re.compile(r"^(?P<url>https?://[^#\s]+)(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?$")
READ_SIZE = 1 << 20
URL_TIMEOUT_S = 30.0


class ModelUnavailable(Exception):
    """A model cannot be had; `code` tells why in a word, the message what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class ModelStore:
    """`folder` is the base of relative paths and holds what came by URL."""

    folder: Path

    def present(self, slot: SlotSpec) -> bool:
        """Whether the slot's files lie on disk, so that nothing needs pulling. Cheap."""
        return all(self._local(source) is not None for source in (slot.model, *slot.companions.values()))

    def fetch(self, slot: SlotSpec) -> ModelFiles:
        """The slot's files, fetched where they are missing. Blocks. Raises `ModelUnavailable`."""
        companions = {role: self._fetch(source) for role, source in slot.companions.items()}
        return ModelFiles(main=self._fetch(slot.model), companions=companions)

    def _local(self, source: str) -> Path | None:
        if match := URL_SOURCE.match(source):
            path = self._url_path(match)
        elif source.startswith("hf://"):
            return None
        else:
            path = self._path(source)
        return path if path.exists() else None

    def _fetch(self, source: str) -> Path:
        try:
            if source.startswith("hf://"):
                return fetch_from_hub(source)
            if match := URL_SOURCE.match(source):
                return self._fetch_url(match)
            if source.startswith(("http://", "https://")):
                allowed = "https://host/file or https://host/file#sha256=64 hex digits"
                raise ModelUnavailable("bad_source", f"'{source}' is no URL source; allowed: {allowed}.")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise ModelUnavailable("disk_full", f"The disk is full; '{source}' could not be stored.") from error
            raise
        return self._existing_path(source)

    def _path(self, source: str) -> Path:
        return self.folder / Path(source.removeprefix("file://")).expanduser()

    def _existing_path(self, source: str) -> Path:
        path = self._path(source)
        if not path.exists():
            raise ModelUnavailable("model_missing", f"The model file {path} does not exist.")
        if not os.access(path, os.R_OK):
            raise ModelUnavailable("model_unreadable", f"The model file {path} cannot be read by this user.")
        return path

    def _url_path(self, match: re.Match[str]) -> Path:
        name = hashlib.sha256(match[0].encode()).hexdigest()[:16]
        return self.folder / "urls" / name / (match["url"].split("?")[0].rsplit("/", 1)[-1] or "model")

    def _fetch_url(self, match: re.Match[str]) -> Path:
        target = self._url_path(match)
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
            try:
                digest = _download(match["url"], part)
                if match["sha256"] and digest != match["sha256"].lower():
                    raise ModelUnavailable(
                        "checksum_mismatch", f"{match['url']} has sha256 {digest}, not {match['sha256']}; removed."
                    )
                os.replace(part.name, target)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
        return target


def _download(url: str, part: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    """Write the body of `url` to `part`; its sha256."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT_S) as response:
            while chunk := response.read(READ_SIZE):
                digest.update(chunk)
                part.write(chunk)
            lacking = response.length
    except urllib.error.HTTPError as error:
        error.close()
        raise ModelUnavailable("model_refused", f"{url} answered {error.code} {error.reason}.") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ModelUnavailable("model_unreachable", f"{url} cannot be reached: {error}.") from error
    part.flush()
    os.fsync(part.fileno())
    if lacking:
        raise ModelUnavailable("model_unreachable", f"{url} ended {lacking} bytes early; try again.")
    return digest.hexdigest()


def fetch_from_hub(source: str) -> Path:
    """One file of a Hub repository, or its whole snapshot where no file is named."""
    match = HUB_SOURCE.match(source)
    if match is None:
        raise ModelUnavailable("bad_source", f"'{source}' is no Hub source; allowed: hf://org/repo[@revision][/file].")
    from huggingface_hub import hf_hub_download, snapshot_download

    try:
        if match["file"]:
            return Path(hf_hub_download(match["repo"], match["file"], revision=match["revision"]))
        return Path(snapshot_download(match["repo"], revision=match["revision"]))
    except Exception as error:
        raise _hub_error(source, error) from error


def _hub_error(source: str, error: Exception) -> Exception:
    """The library's errors in our terms, most specific first."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelUnavailable(
            "model_gated", f"'{source}' is gated: accept its terms on the Hub and set HF_TOKEN to a token of yours."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelUnavailable(
            "model_not_found", f"The Hub knows no repository of '{source}', or it is private: set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError | errors.RemoteEntryNotFoundError):
        return ModelUnavailable("model_not_found", f"The Hub has no such file or revision: '{source}'.")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return ModelUnavailable(
            "hub_unreachable",
            f"'{source}' is not on this node and the Hub cannot be reached (or HF_HUB_OFFLINE is set). "
            "Check the network or HF_ENDPOINT, or give the slot a local path.",
        )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "an error"
        return ModelUnavailable("hub_refused", f"The Hub answered {status} for '{source}'.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ModelUnavailable("disk_full", f"The disk is full; '{source}' could not be stored.")
    return ModelUnavailable("hub_unreachable", f"'{source}' could not be fetched: {type(error).__name__}: {error}")
